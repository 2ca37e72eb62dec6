//! Nodes that ask each other, and whom they believe.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use berth_testkit::{Authority, Etcd, is_root, program};

use crate::cluster::{Cluster, PEERS, SHORT, Setting, soon, texts};

/// Replaces the files that a node shows others.
fn with_files(config: &str, of: &[(&str, &Path)]) -> String {
    let mut in_peer = false;
    let line = |line: &str| {
        in_peer |= line == "[cluster.peer]";
        let other = of.iter().find(|(key, _)| in_peer && line.starts_with(&format!("{key} = ")));
        other.map_or_else(|| line.to_owned(), |(key, path)| format!("{key} = {path:?}"))
    };
    config.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_node_answers_for_itself_alone_and_to_nodes_alone() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    let setting = |name: &str| Setting::new(name, &etcd.endpoints(), SHORT);
    let strangers = Authority::new()?;
    strangers.issue_to("stranger", "stranger", "DNS:stranger")?;
    let settings = ["a", "misnamed", "stranger", "silent"].map(setting);
    Cluster::start_with(&settings)?.play(|cluster| {
        cluster.authority.issue_to("other", "other", "DNS:other")?;
        let own = |name: &str| cluster.authority.path(name);
        let theirs = |name: &str| strangers.path(name);
        let misnamed = with_files(
            &cluster.config(&settings[1])?,
            &[("cert", &own("other.pem")), ("key", &own("other.key"))],
        );
        let stranger = with_files(
            &cluster.config(&settings[2])?,
            &[
                ("ca", &theirs("ca.pem")),
                ("cert", &theirs("stranger.pem")),
                ("key", &theirs("stranger.key")),
            ],
        );
        let silent = cluster.config(&settings[3])?;
        let silent = silent.split("[cluster.peer]").next().unwrap_or_default().to_owned();
        for (name, config) in [("misnamed", misnamed), ("stranger", stranger), ("silent", silent)] {
            let node = &mut cluster.of_mut(name).node;
            node.stop()?;
            fs_err::write(node.path("berth.toml"), config)?;
            node.start_berthd()?;
        }
        let a = cluster.of("a");
        soon("all are there", || Ok(cluster.of("a").lines("cluster nodes")?.len() == 4))?;
        for member in &cluster.members {
            member.is("registered")?;
            let told = member.lines(&format!("cluster node {}", member.name))?;
            ensure!(texts(&told[..1], "node") == [member.name.as_str()], "{told:?}");
        }
        soon("silent answers nobody", || {
            let refused = a.node.berth("cluster node silent").output()?.fails(1)?;
            Ok(refused.contains("silent") && refused.contains("[cluster.peer]"))
        })?;
        for (asked, of) in [("a", 1), ("a", 2), ("stranger", 0), ("misnamed", 2)] {
            is_refused(cluster, asked, &settings[of])?;
        }
        let silent = cluster.of("silent").node.berth("cluster node a").output()?.fails(1)?;
        ensure!(silent.contains("[cluster.peer]"), "{silent}");
        // Whoever shows no certificate gets no answer, whatever it is told.
        let at = format!("https://{}:{PEERS}/metrics", settings[0].address);
        let anybody = program("curl").args(["-sSk", "--max-time", "20", &at]).output()?;
        ensure!(anybody.code != 0 && anybody.stdout.is_empty(), "{anybody}");
        Ok(())
    })
}

/// It says whom it asked, and where.
fn is_refused(cluster: &Cluster, asked: &str, of: &Setting) -> Result<()> {
    let refused = cluster.of(asked).node.berth(&format!("cluster node {}", of.name)).output()?;
    let words = refused.fails(1)?;
    let address = format!("{}:{PEERS}", of.address);
    for word in [of.name.as_str(), &address, "certificate"] {
        ensure!(words.contains(word), "{asked} of {}: no {word:?} in {words}", of.name);
    }
    Ok(())
}

/// How many connections a node refused by its log, and on how many lines it says so.
fn refused(log: &str) -> (usize, usize) {
    let mut refused = (0, 0);
    for line in log.lines().filter(|line| line.contains("connection of another node")) {
        let more = line.split_once("more=").map_or("", |(_, more)| more);
        let digits = more.split(|c: char| !c.is_ascii_digit()).next();
        let more: usize = digits.unwrap_or_default().parse().unwrap_or(0);
        refused = (refused.0 + 1 + more, refused.1 + 1);
    }
    refused
}

#[test]
fn who_is_refused_again_and_again_does_not_fill_the_log() -> Result<()> {
    const KNOCKS: usize = 200;
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    let setting = Setting::new("a", &etcd.endpoints(), SHORT);
    let door = (setting.address, PEERS);
    Cluster::start_with(&[setting])?.play(|cluster| {
        let (a, began) = (cluster.of("a"), Instant::now());
        for _ in 0..KNOCKS {
            TcpStream::connect(door)?.write_all(b"no TLS\n")?;
        }
        soon("all of them are told of", || Ok(refused(&a.node.log()?).0 >= KNOCKS))?;
        let log = a.node.log()?;
        let (connections, lines) = refused(&log);
        ensure!(connections == KNOCKS, "{connections} were refused");
        // One at once, and then one in five seconds.
        let most = 2 + began.elapsed().as_secs() / 5;
        ensure!(lines as u64 <= most, "{lines} lines within {:?}:\n{log}", began.elapsed());
        let told = |line: &str| line.contains("from=127.") && line.contains("error=");
        let first = log.lines().find(|line| line.contains("connection of another node"));
        ensure!(first.is_some_and(told), "{first:?}");
        a.lines("cluster node a").map(drop)
    })
}
