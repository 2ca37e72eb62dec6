//! The node is ended where its stores commit, before and after each commit that clients' work makes,
//! started again, and checked: what was acknowledged is there, what was not can be done again, a
//! container runs on, `berth fsck` finds nothing. Needs root, and services that were built with their
//! failpoints, as `cargo test --workspace` does.
//!
//! A commit that this test does not reach is named in `ELSEWHERE`, with the test that does.

mod tour;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Image, Layer, Registry, commits_in, is_root};
use serde_json::json;

use crate::tour::Stage;

/// So many nodes beside each other.
const NODES: usize = 4;

/// What the tests of the services go through by themselves (`crashes.rs` of distribution and runtime,
/// `points.rs` and `crash.rs` of bundle, each of which fails if it does not know a commit): ctr has no
/// command for it, or it is done at a start, by snapshotters and stores of others, or on damage.
const ELSEWHERE: [&str; 28] = [
    "activate mounts",
    "add lease resource",
    "adopt snapshot",
    "begin activation",
    "check.mend",
    "content.delete",
    "content.there",
    "count children",
    "deactivate mounts",
    "end epoch",
    "fence namespace",
    "forget lost mounts",
    "forget name",
    "gc.pin",
    "leases.add",
    "leases.delete-left",
    "leases.remove",
    "namespaces.register",
    "pin node",
    "remove lease resource",
    "reserve commit",
    "reserve layer",
    "reserve snapshot",
    "sandboxes.create",
    "sandboxes.delete",
    "sandboxes.update",
    "uuid",
    "withdraw commit",
];

#[test]
fn the_node_ends_at_every_point_and_nothing_acknowledged_is_lost() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let marker = Layer::default().file("marker", 0o644, b"other")?;
    let other = Image::build(vec![Layer::busybox()?, marker], json!({}))?;
    let other = other.push(&registry, "other:1")?;
    let stage = || Stage::new(&image, &other);
    let mut first = stage()?;
    let points = first.points()?;
    ensure!(!points.is_empty(), "built without failpoints: `cargo test --workspace` has them");
    known(&points)?;
    let left = Mutex::new(points.into_iter().collect::<Vec<_>>());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let mut stages = vec![Some(first)];
        stages.resize_with(NODES, || None);
        for own in stages {
            let (left, wrong) = (&left, &wrong);
            scope.spawn(move || {
                let ended = work(own, stage, left);
                wrong.lock().expect("no panic").extend(ended.err());
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

fn work(
    own: Option<Stage>,
    new: impl Fn() -> Result<Stage>,
    left: &Mutex<Vec<String>>,
) -> Result<()> {
    let mut stage = own.map_or_else(new, Ok)?;
    loop {
        let next = left.lock().expect("no panic").pop();
        let Some(point) = next else { return Ok(()) };
        stage.end_at(&point).with_context(|| format!("{point}; {}", stage.log()))?;
    }
}

/// Each commit of the services is gone through here or elsewhere.
fn known(points: &BTreeSet<String>) -> Result<()> {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services");
    let mut missing = BTreeSet::new();
    for service in ["distribution", "bundle", "runtime"] {
        for commit in commits_in(&services.join(service).join("src"))? {
            let steps = ["before-commit", "after-commit"];
            if !steps.iter().all(|step| points.contains(&format!("{commit}.{step}"))) {
                missing.insert(commit);
            }
        }
    }
    let elsewhere: BTreeSet<_> = ELSEWHERE.map(str::to_owned).into();
    ensure!(missing == elsewhere, "not reached: {missing:#?}, expected {elsewhere:#?}");
    Ok(())
}
