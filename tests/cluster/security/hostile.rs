//! Keys and values in etcd that berth did not write.

use anyhow::{Context, Result, ensure};
use berth_proto::berth::cluster::v1::{Container, Image};
use berth_testkit::{Etcd, is_root};
use prost::Message;

use crate::cluster::{Cluster, SHORT, soon, texts};
use crate::converged::{converged, converged_among};
use crate::keys::{etcdctl, prefix, put};

/// What is to be put where, of one kind.
type Put = (&'static str, Vec<(String, Vec<u8>)>);

/// Keys that name nothing of their kind, and values that are none. What is shown of each kind is the same
/// as without them.
fn unreadable() -> [Put; 3] {
    let garbage = || vec![0xff, 0x00, 0x80, b'\n'];
    let image = |digest: &str| Image { digest: digest.into(), ..Image::default() }.encode_to_vec();
    let whole = format!("sha256:{}", "0".repeat(64));
    let large = Container { image: "x".repeat(40_000), ..Container::default() }.encode_to_vec();
    let text = Container { image: "x".repeat(2_000), ..Container::default() }.encode_to_vec();
    let misses = Image { digest: whole.clone(), missing: vec![7], ..Image::default() };
    let named = |key: &str| key.to_owned();
    let nodes = vec![
        (named("nodes/../etc"), Vec::new()),
        (named("nodes/-"), Vec::new()),
        (named("nodes/a b\u{1b}[2J"), Vec::new()),
        (named("nodes/ghost"), garbage()),
    ];
    let images = vec![
        (named("images/ghost"), image(&whole)),
        (named("images/ghost/default"), image(&whole)),
        (named("images/ghost/de fault/name"), image(&whole)),
        (format!("images/ghost/default/{}", "n".repeat(600)), image(&whole)),
        (named("images/ghost/default/no-digest"), image("")),
        (named("images/ghost/default/misses-what-is-not-there"), misses.encode_to_vec()),
        (named("images/a/default/garbage"), garbage()),
    ];
    let containers = vec![
        (named("containers/ghost/default/large"), large),
        (named("containers/ghost/default/long"), text),
        (named("containers/ghost//nowhere"), Vec::new()),
        (named("containers/b/default/garbage"), garbage()),
    ];
    [("nodes", nodes), ("images", images), ("containers", containers)]
}

#[test]
fn what_berth_did_not_write_is_counted_and_not_shown() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    let endpoints = etcd.endpoints();
    // Seldom, so that what lies under a node's name is not cleared away at once.
    Cluster::start(&endpoints, &["a", "b"], &format!("{SHORT}\ncompare = \"1h\""))?.play(
        |cluster| {
            converged(&cluster.members)?;
            let followed = cluster.of("a").events()?;
            let kinds = unreadable();
            for (_, keys) in &kinds {
                for (key, value) in keys {
                    put(&endpoints, &format!("{}{key}", prefix()), value)?;
                }
            }
            // Another cluster's, and what is in no kind, are nobody's here.
            put(&endpoints, "/berth/other/v1/nodes/stranger", b"")?;
            put(&endpoints, &format!("{}snapshots/a/default/x", prefix()), b"x")?;
            for member in &cluster.members {
                for (kind, keys) in &kinds {
                    member.lines(&format!("cluster {}", kind.replace("containers", "ps")))?;
                    let what = format!("{} counts what it cannot read of {kind}", member.name);
                    soon(&what, || {
                        Ok(unreadable_of(cluster, &member.name, kind)? == keys.len() as u64)
                    })
                    .with_context(|| format!("{:?}", member.view(kind)))?;
                }
            }
            converged_among(&cluster.members.iter().collect::<Vec<_>>())?;
            let listed = cluster.of("b").node.berth("cluster images").output()?;
            ensure!(listed.stderr.contains("cannot be read and are not shown"), "{listed}");
            ensure!(!followed.printed().contains("ghost"), "{}", followed.printed());
            is_harmless_where_it_is_shown(cluster, &endpoints)?;
            comes_back_when_it_is_taken_away(cluster, &endpoints)
        },
    )
}

fn unreadable_of(cluster: &Cluster, node: &str, kind: &str) -> Result<u64> {
    let view = cluster.of(node).view(kind)?.context("the view is gone")?;
    view["unreadable"].as_u64().with_context(|| format!("{view}"))
}

/// What looks like berth's is shown to people, and to no terminal as anything but text.
fn is_harmless_where_it_is_shown(cluster: &Cluster, endpoints: &[String]) -> Result<()> {
    let a = cluster.of("a");
    let value = Container { image: "\u{1b}[2J\u{7}evil".into(), ..Container::default() };
    let key = format!("{}containers/ghost/default/forged\u{1b}c", prefix());
    put(endpoints, &key, &value.encode_to_vec())?;
    soon("what was forged is settled", || {
        let listed = a.lines("cluster ps --filter node==ghost")?;
        let counted = unreadable_of(cluster, "a", "containers")?;
        // Taken as text, or for unreadable.
        Ok(listed.len() == 1 || counted == 5)
    })?;
    let listed = a.berth("cluster ps")?;
    ensure!(!listed.chars().any(|c| c.is_control() && c != '\n'), "{listed:?}");
    Ok(())
}

/// Keys of nodes that somebody deletes are written again.
fn comes_back_when_it_is_taken_away(cluster: &mut Cluster, endpoints: &[String]) -> Result<()> {
    etcdctl(endpoints).args(["del", "--prefix", &prefix()]).output()?.ok()?;
    // Each notices when it next writes.
    for member in &cluster.members {
        member.tag("after-all-was-deleted")?;
    }
    for member in &cluster.members {
        soon(
            "both are there",
            || Ok(texts(&member.lines("cluster nodes")?, "node") == ["a", "b"]),
        )?;
    }
    converged(&cluster.members)
}
