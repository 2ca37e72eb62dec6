//! Nodes that ask each other, and whom they believe.

use std::path::Path;

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
