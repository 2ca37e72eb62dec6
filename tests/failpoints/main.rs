//! The node is ended where its stores commit, before and after each commit, and after each step of
//! the file operations around them, as clients' work and starts make them; started again, and checked:
//! what was acknowledged is there, what was not can be done again, a container runs on, `berth fsck`
//! finds nothing. Needs root, and services that were built with their failpoints, as
//! `cargo test --workspace` does. `BERTH_POINT=TEXT` ends it at points with this text alone.
//!
//! A commit that this test does not reach is named here, with the test that does. A point of a file
//! operation that it does not reach fails it.

mod acts;
mod calls;
mod records;
mod theirs;
mod tour;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Image, Layer, Registry, commits_in, file_points_in, is_root};
use serde_json::json;

use crate::tour::{At, Stage, Stop};

/// So many nodes beside each other.
const NODES: usize = 4;

/// Commits that only take their turn among the others: they write nothing and pass no point.
const TURNS: [&str; 4] = ["end epoch", "fence namespace", "gc.pin", "pin node"];

/// Of blobs that a process of others keeps, which this node has none of: gone through by `crashes.rs` of
/// distribution.
const OF_OTHERS: [&str; 1] = ["content.there"];

/// Of networks, which no container here is attached to: gone through by `networks.rs` of runtime.
const OF_NETWORKS: [&str; 5] = [
    "attachments.begin",
    "attachments.forget",
    "attachments.keep",
    "attachments.leave",
    "attachments.trouble",
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
    let begun = Instant::now();
    let mut first = stage()?;
    let stops = first.points()?;
    ensure!(!stops.is_empty(), "built without failpoints: `cargo test --workspace` has them");
    known(&stops)?;
    println!("{} ends, begun after {:?}", stops.len(), begun.elapsed());
    let only = std::env::var("BERTH_POINT").unwrap_or_default();
    let stops = stops.into_iter().filter(|(_, point)| point.contains(&only)).collect();
    let left = Mutex::new(stops);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let mut stages = vec![Some(first)];
        stages.resize_with(NODES, || None);
        for own in stages {
            let (left, wrong) = (&left, &wrong);
            scope.spawn(move || work(own, stage, left, wrong));
        }
    });
    println!("all after {:?}", begun.elapsed());
    let wrong = wrong.into_inner().expect("no panic");
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Goes through what is left. After one that goes wrong another node goes on.
fn work(
    own: Option<Stage>,
    new: impl Fn() -> Result<Stage>,
    left: &Mutex<Vec<Stop>>,
    wrong: &Mutex<Vec<anyhow::Error>>,
) {
    let mut own = own;
    loop {
        let next = left.lock().expect("no panic").pop();
        let Some(stop) = next else { return };
        let ended = || -> Result<Stage> {
            let mut stage = own.take().map_or_else(&new, Ok)?;
            stage.end_at(&stop).with_context(|| format!("{stop:?}; {}", stage.log()))?;
            Ok(stage)
        };
        match { ended }() {
            Ok(stage) => own = Some(stage),
            Err(error) => wrong.lock().expect("no panic").push(error),
        }
    }
}

/// Each commit of the services is gone through here or elsewhere, each file operation here.
fn known(stops: &[Stop]) -> Result<()> {
    let points: BTreeSet<&str> = stops.iter().map(|(_, point)| point.as_str()).collect();
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = |name: &str| above.join(name).join("src");
    let services: Vec<PathBuf> =
        ["services/distribution", "services/bundle", "services/runtime"].map(source).into();
    let (mut missing, mut files) = (BTreeSet::new(), BTreeSet::new());
    for service in &services {
        for commit in commits_in(service)? {
            let steps = ["before-commit", "after-commit"];
            if !steps.iter().all(|step| points.contains(&*format!("{commit}.{step}"))) {
                missing.insert(commit);
            }
        }
    }
    let elsewhere = TURNS.iter().chain(&OF_OTHERS).chain(&OF_NETWORKS);
    let elsewhere: BTreeSet<_> = elsewhere.map(|name| (*name).to_owned()).collect();
    ensure!(missing == elsewhere, "not reached: {missing:#?}, expected {elsewhere:#?}");
    for source in services.into_iter().chain([source("libs/store")]) {
        files.extend(file_points_in(&source)?);
    }
    files.retain(|point| !points.contains(&**point));
    ensure!(files.is_empty(), "not reached: {files:#?}");
    ensure!(stops.iter().any(|(at, _)| *at == At::First), "no first start is ended");
    Ok(())
}
