//! Lists, and what narrows them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Images;
use crate::cluster::{Cluster, soon, texts};
use crate::member::STEADY;

/// What is asked of each node says the same, to the revision.
pub fn are_the_same_from_each_node(cluster: &Cluster) -> Result<()> {
    for line in ["cluster nodes", "cluster images", "cluster ps"] {
        soon(&format!("{line} is the same from each node"), || {
            let told = cluster.members.iter().map(|member| member.lines(line));
            let told = told.collect::<Result<Vec<_>>>()?;
            ensure!(told.iter().all(|list| !list.is_empty()), "{told:?}");
            Ok(told.windows(2).all(|two| two[0] == two[1]))
        })?;
    }
    for member in &cluster.members {
        member.is("registered")?;
        let status = member.status()?;
        ensure!(status["node"] == member.name.as_str() && status["trouble"] == "", "{status}");
        let view = member.view("images")?.context("it was just listed")?;
        ensure!(view["connected"] == true && view["unreadable"] == 0, "{view}");
    }
    Ok(())
}

/// By filters of containerd's grammar, and by namespace.
pub fn can_be_narrowed(cluster: &Cluster, images: &Images) -> Result<()> {
    let a = cluster.of("a");
    let nodes = |line: &str| -> Result<Vec<String>> { Ok(texts(&a.lines(line)?, "node")) };
    ensure!(nodes("cluster nodes --filter labels.zone==b")? == ["b"]);
    ensure!(nodes("cluster nodes --filter node==a --filter node==c")? == ["a", "c"]);
    ensure!(nodes("cluster ps --filter state==paused")? == ["b"]);
    let steady = format!("cluster ps --filter name~=\"{STEADY}$\",state==running");
    ensure!(nodes(&steady)? == ["a", "b", "c"]);
    let of_c = a.lines("cluster images --filter node==c,complete==true")?;
    ensure!(of_c.len() == 2, "{of_c:?}");
    let apart = a.lines("cluster images -n k8s.io")?;
    ensure!(texts(&apart, "name") == [images.apart.as_str()], "{apart:?}");
    a.node.berth("cluster images --filter complete=").output()?.fails(1)?;
    ensure!(a.lines("cluster images --filter node==nobody")?.is_empty());
    Ok(())
}

/// As many as are wanted, and always the same first.
pub fn come_in_parts(cluster: &Cluster) -> Result<()> {
    let member = cluster.of("b");
    for line in ["cluster nodes", "cluster images", "cluster ps"] {
        soon(&format!("parts of {line} fit the whole"), || {
            let whole = member.lines(line)?;
            let part = |limit: usize| member.lines(&format!("{line} --limit {limit}"));
            ensure!(part(1)?.len() == 1 && part(2)?.len() == 2);
            Ok(part(2)? == whole[..2] && part(500)? == whole)
        })?;
    }
    Ok(())
}

/// By its name, its digest or the digest's first digits.
pub fn tell_where_an_image_is(cluster: &Cluster, images: &Images) -> Result<()> {
    let c = cluster.of("c");
    let listed = c.lines(&format!("cluster where {}", images.both))?;
    ensure!(texts(&listed, "node") == ["a", "b"], "{listed:?}");
    let digest = listed[0]["digest"].as_str().context("no digest")?;
    let digits = &digest["sha256:".len()..][..12];
    for known in [digest, digits] {
        ensure!(c.lines(&format!("cluster where {known}"))? == listed, "{known}");
    }
    let refused = c.node.berth("cluster where nobody/has:this").output()?.fails(1)?;
    ensure!(refused.contains("no node shows image"), "{refused}");
    Ok(())
}

/// A node's own words, from itself and from another.
pub fn show_a_node_that_is_asked_itself(cluster: &Cluster, images: &Images) -> Result<()> {
    for asked in ["a", "c"] {
        let told = cluster.of(asked).lines("cluster node a")?;
        let of = |kind: &str| -> Vec<Value> {
            told.iter().filter(|object| object["kind"] == kind).cloned().collect()
        };
        let [node] = &of("node")[..] else { anyhow::bail!("{told:?}") };
        ensure!(node["labels"]["zone"] == "a", "{node}");
        ensure!(node["capacity"]["processors"].as_u64() > Some(0), "{node}");
        let services = node["services"].as_array().context("no services")?;
        ensure!(!services.is_empty() && services.iter().all(|of| of["serves"] == true), "{node}");
        ensure!(texts(&of("image"), "name").contains(&images.both), "{told:?}");
        ensure!(texts(&of("container"), "name") == [cluster.of("a").id(STEADY)], "{told:?}");
    }
    let refused = cluster.of("a").node.berth("cluster node nobody").output()?.fails(1)?;
    ensure!(refused.contains("is not in the cluster"), "{refused}");
    Ok(())
}

/// Tables have what the objects have, and what the view is worth is told beside them.
pub fn are_for_people_too(cluster: &Cluster, images: &Images) -> Result<()> {
    let b = cluster.of("b");
    let listed = b.node.berth("cluster nodes").output()?;
    ensure!(listed.code == 0 && listed.stdout.starts_with("NODE "), "{listed}");
    ensure!(listed.stdout.lines().count() == 4 && listed.stderr.starts_with("as of "), "{listed}");
    ensure!(b.berth("cluster images")?.contains(&images.apart));
    let listed = b.berth("cluster ps")?;
    for (node, name) in [("a", STEADY), ("b", "paused"), ("c", "ended")] {
        ensure!(listed.contains(&cluster.of(node).id(name)), "{listed}");
    }
    ensure!(b.berth("cluster status")?.contains("registration  registered"));
    Ok(())
}

/// An image of which a layer is gone is shown as such.
pub fn tell_what_is_missing(cluster: &Cluster, images: &Images) -> Result<()> {
    let (a, b) = (cluster.of("a"), cluster.of("b"));
    let line = format!("cluster images --filter node==b,name=={:?}", images.both);
    let [whole] = &a.lines(&line)?[..] else { anyhow::bail!("{line} lists nothing") };
    ensure!(whole["complete"] == true, "{whole}");
    let layer = whole["layers"][1].as_str().context("no layer")?;
    b.node.ctr(&format!("content rm {layer}")).output()?.ok()?;
    soon("the layer is missed", || {
        let [part] = &a.lines(&line)?[..] else { return Ok(false) };
        Ok(part["complete"] == false && part["missing"] == serde_json::json!([1]))
    })?;
    b.berth(&format!("pull -q {}", images.both))?;
    soon("it is whole again", || Ok(a.lines(&line)?.iter().all(|of| of["complete"] == true)))
}
