//! A process that ends at each point of each commit that changes records only: what was done is
//! there afterwards, what was not is as before. A commit that neither this test nor the one of
//! layers (`crash.rs`) knows fails it. Needs root.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod support;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use berth_bundle::snapshots::{LabelChange, LeaseRow, OVERLAYFS, Snapshots};
use berth_store::{Options, Store};
use berth_testkit::program;
use support::{Pins, caller, directories, is_root, labels, prepare};

/// What the child does, and where.
const CHILD: &str = "BERTH_TEST_POINT";

const COMMITS: [&str; 6] = [
    "add lease resource",
    "delete lease",
    "remove lease resource",
    "remove snapshot",
    "sweep snapshots",
    "update snapshot",
];

/// Those that only take their turn among the others: they change nothing and pass no point.
const TURNS: [&str; 2] = ["fence namespace", "pin snapshot"];

/// Those that `crash.rs` goes through.
const OF_LAYERS: [&str; 3] = ["commit layer", "commit snapshot", "create snapshot"];

fn open(root: &Path) -> (Store, Snapshots) {
    let store = Store::open(root.join("b.redb"), Options::default()).unwrap();
    let (listener, owners) = (Arc::new(|_: &_, _: &str, _| ()), Arc::new(Pins::default()));
    let snapshots = Snapshots::open(root, store.clone(), None, listener, owners).unwrap();
    (store, snapshots)
}

fn row(id: &str) -> LeaseRow {
    LeaseRow { incarnation: 1, kind: "snapshots/overlayfs".to_owned(), id: id.to_owned() }
}

fn node(key: &str) -> (String, String, String) {
    ("default".to_owned(), "snapshots/overlayfs".to_owned(), key.to_owned())
}

/// Two snapshots, of which a lease holds one.
async fn before(s: &Snapshots) {
    prepare(s, OVERLAYFS, "kept", "").await.unwrap();
    prepare(s, OVERLAYFS, "old", "").await.unwrap();
    s.add_hold("default".to_owned(), "l".to_owned(), row("kept")).await.unwrap();
}

async fn act(s: &Snapshots, commit: &str) {
    let (space, lease) = ("default".to_owned(), "l".to_owned());
    let done = match commit {
        "add lease resource" => s.add_hold(space, lease, row("old")).await,
        "delete lease" => s.drop_lease(space, lease).await,
        "remove lease resource" => s.remove_hold(space, lease, row("kept")).await,
        "remove snapshot" => s.remove(&caller(), OVERLAYFS, "old").await,
        "sweep snapshots" => s.sweep(vec![node("old")]).await.map(drop),
        _ => {
            let (new, all) = (labels(&[("changed", "yes")]), vec![LabelChange::All]);
            s.update(&caller(), OVERLAYFS, "old", new, all).await.map(drop)
        }
    };
    done.unwrap();
}

/// The child: does what it was told on what the parent has made.
#[tokio::test]
async fn child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (commit, root) = what.split_once('|').unwrap();
    let (_, s) = open(Path::new(root));
    act(&s, commit).await;
}

/// Whether the change is in the store.
fn happened(s: &Snapshots, commit: &str) -> bool {
    let holds = s.holds("default", "l").unwrap();
    let old = s.stat(&caller(), OVERLAYFS, "old").ok();
    match commit {
        "add lease resource" => holds.contains(&row("old")),
        "delete lease" | "remove lease resource" => !holds.contains(&row("kept")),
        "remove snapshot" | "sweep snapshots" => old.is_none(),
        _ => old.unwrap().labels.contains_key("changed"),
    }
}

#[tokio::test]
async fn every_point_of_every_commit() {
    if !is_root() {
        return;
    }
    for commit in COMMITS {
        for (step, kept) in [("before-commit", false), ("after-commit", true)] {
            let point = format!("{commit}.{step}");
            let dir = tempfile::tempdir().unwrap();
            let (store, s) = open(dir.path());
            before(&s).await;
            drop(s);
            store.close().await;
            let ended = program(std::env::current_exe().unwrap())
                .args(["child", "--exact", "--nocapture"])
                .env(CHILD, format!("{commit}|{}", dir.path().display()))
                .env("BERTH_FAILPOINT", format!("{point}:abort"))
                .into_command()
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert_eq!(ended.status.signal(), Some(6), "{point}: {ended:?}");
            let (store, s) = open(dir.path());
            assert_eq!(happened(&s, commit), kept, "{point}");
            let there = s.list(&caller(), OVERLAYFS, |_| true).unwrap();
            assert!(there.iter().any(|info| info.name == "kept"), "{point}");
            assert_eq!(directories(dir.path(), OVERLAYFS, "snapshots"), there.len(), "{point}");
            store.close().await;
        }
    }
    let known = COMMITS.iter().chain(&OF_LAYERS).chain(&TURNS).map(|c| (*c).to_owned());
    assert_eq!(commits_in_source(), known.collect());
}

/// The names of all commits that the service's source makes.
fn commits_in_source() -> BTreeSet<String> {
    fn visit(folder: PathBuf, names: &mut BTreeSet<String>) {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(path, names);
                continue;
            }
            let text = fs_err::read_to_string(&path).unwrap();
            let calls = text.split(".commit(").skip(1).map(str::trim_start);
            let quoted = calls.filter_map(|call| call.strip_prefix('"'));
            names.extend(quoted.filter_map(|call| call.split('"').next().map(str::to_owned)));
        }
    }
    let mut names = BTreeSet::new();
    visit(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    names
}
