//! The root of a node, copied: two nodes that have one number.

use anyhow::{Context, Result, ensure};
use berth_testkit::{Etcd, is_root, program};

use crate::archive::IMAGE;
use crate::cluster::{Cluster, SHORT, Setting, soon, tag, texts};
use crate::converged::{converged, converged_among};
use crate::keys::Staying;
use crate::load::Load;
use crate::member::Member;

#[test]
fn a_copied_root_is_refused_until_it_has_a_name_of_its_own() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    let endpoints = etcd.endpoints();
    let [first, copied] = ["a", "a"].map(|name| Setting::new(name, &endpoints, SHORT));
    let settings = [first.clone(), Setting::new("b", &endpoints, SHORT)];
    Cluster::start_with(&settings)?.play(|cluster| {
        converged(&cluster.members)?;
        let mut copy = copy_of(cluster, &copied)?;
        converged(&cluster.members)?;
        let staying = Staying::now(&endpoints)?;
        let pids = pids(cluster)?;

        let mut load = Load::on(cluster.of("a"))?;
        copy.node.start_berthd()?;
        is_refused(&copy, &first)?;
        load.goes_on(3)?;
        load.end()?;
        ensure!(cluster.of("a").status()?["registration"] == "registered");
        ensure!(copy.status()?["registration"] == "refused", "{:?}", copy.status());
        converged(&cluster.members)?;
        staying.none_left(&endpoints)?;
        ensure!(pids == self::pids(cluster)?, "processes were started again");
        // It has what its original had, and works.
        ensure!(copy.json("images")?[0]["name"] == IMAGE, "{}", copy.json("images")?);
        ensure!(copy.lines("cluster nodes")?.len() == 2);
        copy.run("works")?;

        ensure!(copy.node.stop()? == Some(0), "it did not end well");
        let named = cluster.config(&Setting { name: "c".to_owned(), ..copied.clone() })?;
        fs_err::write(copy.node.path("berth.toml"), named)?;
        copy.name = "c".to_owned();
        copy.node.start_berthd()?;
        copy.is("registered")?;
        let (a, b) = (cluster.of("a"), cluster.of("b"));
        converged_among(&[a, b, &copy])?;
        let shown = b.lines("cluster nodes")?;
        ensure!(texts(&shown, "node") == ["a", "b", "c"], "{shown:?}");
        ensure!(shown[0]["uuid"] == shown[2]["uuid"], "its root is not a copy: {shown:?}");
        staying.none_left(&endpoints)?;
        ensure!(pids == self::pids(cluster)?, "processes were started again");
        Ok(())
    })
}

/// A node on a copy of the root of `a`, which is stopped for it and started again. The copy is not.
fn copy_of(cluster: &mut Cluster, setting: &Setting) -> Result<Member> {
    let config = cluster.config(setting)?;
    let copy = Member::unstarted(setting, &config, &tag())?;
    let a = cluster.of_mut("a");
    ensure!(a.node.stop()? == Some(0), "it did not end well");
    let copied = program("cp").args(["--archive"]);
    copied.args([a.node.path("root"), copy.node.path("root")]).output()?.ok()?;
    a.node.start_berthd()?;
    a.is("registered")?;
    Ok(copy)
}

fn pids(cluster: &Cluster) -> Result<Vec<u32>> {
    cluster.members.iter().map(|member| member.node.service_pid("berth-cluster")).collect()
}

/// It says who has the name, and where that is.
fn is_refused(copy: &Member, holder: &Setting) -> Result<()> {
    copy.is("refused").with_context(|| copy.last_lines())?;
    let (status, address) = (copy.status()?, holder.address.to_string());
    ensure!(status["trouble"].as_str().is_some_and(|why| why.contains(&address)), "{status}");
    soon("its log says so", || {
        let told = |line: &str| line.contains("WARN") && line.contains(&address);
        Ok(copy.node.log()?.lines().any(told))
    })
}
