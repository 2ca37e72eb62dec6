//! A process that ends at each point of each commit that changes records only: what was done is
//! there afterwards, what was not is as before. A commit that neither this test nor the one of
//! layers (`crash.rs`) knows fails it. Needs root.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod support;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use berth_bundle::mounts::{Activating, Activations, KIND};
use berth_bundle::snapshots::{Caller, LabelChange, LeaseRow, OVERLAYFS, Snapshots};
use berth_bundle::sweep::sweep;
use berth_errors::{Code, Coded};
use berth_lifecycle::Tasks;
use berth_mount::{Mount, mountinfo};
use berth_store::{Options, Store};
use berth_testkit::{commits_in, program};
use support::{Pins, caller, directories, is_root, labels, prepare, space};

/// What the child does, with what, and where.
const CHILD: &str = "BERTH_TEST_POINT";
const RECORDS: &str = "records";
const MOUNTS: &str = "mounts";

const COMMITS: [&str; 6] = [
    "add lease resource",
    "hold snapshot",
    "remove lease resource",
    "remove snapshot",
    "sweep",
    "update snapshot",
];

/// Those that only take their turn among the others: they change nothing and pass no point.
const TURNS: [&str; 3] = ["end epoch", "fence namespace", "pin node"];

/// Those of activated mounts, and whether the activation that they are about is there after an end
/// before and after each. What began only is undone by the next start.
const OF_MOUNTS: [(&str, bool, bool); 5] = [
    ("activate mounts", false, true),
    ("begin activation", false, false),
    ("deactivate mounts", true, false),
    ("forget lost mounts", false, false),
    ("sweep", true, false),
];

/// Those that `crash.rs` goes through.
const OF_LAYERS: [&str; 3] = ["commit layer", "commit snapshot", "create snapshot"];

/// Those around a call of a snapshotter in a process of its own. Each records what is about to be
/// there, or is not: what an end in between leaves there is found by those records, which
/// `tests/failpoints` goes through with a whole node and such a snapshotter.
const OF_PROXIED: [&str; 6] = [
    "adopt snapshot",
    "forget name",
    "reserve commit",
    "reserve layer",
    "reserve snapshot",
    "withdraw commit",
];

/// That of a repair, for which a store has to be damaged: `tests/failpoints` does that, and one that was
/// not done is found again by the next look.
const OF_REPAIRS: [&str; 1] = ["count children"];

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

async fn act(s: &Snapshots, root: &Path, commit: &str) {
    let (within, lease) = ("default".to_owned(), "l".to_owned());
    let done = match commit {
        "add lease resource" => s.add_hold(within, lease, row("old")).await,
        "remove lease resource" => s.remove_hold(within, lease, row("kept")).await,
        "hold snapshot" => {
            let leased = Caller { lease: Some((lease, 1)), ..caller() };
            let taken = s.commit(leased, OVERLAYFS, "old", "kept", "", labels(&[])).await;
            assert_eq!(taken.unwrap_err().code(), Code::AlreadyExists);
            Ok(())
        }
        "remove snapshot" => s.remove(&space(), None, OVERLAYFS, "old").await,
        "sweep" => {
            s.begin(1).await;
            sweep(s, &open_mounts(s, root).await, 1, vec![node("old")]).await.map(drop)
        }
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
    let mut parts = what.splitn(3, '|');
    let (part, commit, root) =
        (parts.next().unwrap(), parts.next().unwrap(), Path::new(parts.next().unwrap()));
    let (_, s) = open(root);
    if part == RECORDS {
        act(&s, root, commit).await;
    } else {
        act_on_mounts(&s, &open_mounts(&s, root).await, root, commit).await;
    }
}

async fn open_mounts(s: &Snapshots, root: &Path) -> Activations {
    let targets = root.join("targets");
    fs_err::create_dir_all(&targets).unwrap();
    Activations::open(s, targets, Vec::new(), &Tasks::new()).await.unwrap()
}

/// A bind mount of a folder, made by the service.
fn asked(name: &str, root: &Path) -> Activating {
    let source = root.join("source");
    fs_err::create_dir_all(&source).unwrap();
    let bind = Mount {
        kind: "bind".into(),
        source: source.display().to_string(),
        target: String::new(),
        options: vec!["rbind".into(), "ro".into()],
    };
    let (name, mounts, labels) = (name.to_owned(), vec![bind], labels(&[]));
    Activating { caller: caller(), name, mounts, labels, temporary: true }
}

async fn act_on_mounts(s: &Snapshots, mounts: &Activations, root: &Path, commit: &str) {
    match commit {
        "activate mounts" | "begin activation" => {
            mounts.activate(asked("new", root)).await.unwrap();
        }
        "deactivate mounts" => mounts.deactivate("default", "old").await.unwrap(),
        _ => {
            let old = ("default".to_owned(), KIND.to_owned(), "old".to_owned());
            s.begin(1).await;
            sweep(s, mounts, 1, vec![old]).await.unwrap();
        }
    }
}

/// Whether the change is in the store.
async fn happened(s: &Snapshots, commit: &str) -> bool {
    let holds = s.holds("default", "l").unwrap();
    let old = s.stat(&caller(), OVERLAYFS, "old").await.ok();
    match commit {
        "add lease resource" | "hold snapshot" => holds.contains(&row("old")),
        "remove lease resource" => !holds.contains(&row("kept")),
        "remove snapshot" | "sweep" => old.is_none(),
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
            run_until(RECORDS, commit, &point, dir.path());
            let (store, s) = open(dir.path());
            assert_eq!(happened(&s, commit).await, kept, "{point}");
            let there = s.list(&caller(), OVERLAYFS, |_| true).await.unwrap();
            assert!(there.iter().any(|info| info.name == "kept"), "{point}");
            assert_eq!(directories(dir.path(), OVERLAYFS, "snapshots"), there.len(), "{point}");
            store.close().await;
        }
    }
    let of_mounts = OF_MOUNTS.iter().map(|(commit, ..)| commit);
    let known = COMMITS.iter().chain(&OF_LAYERS).chain(&TURNS).chain(&OF_PROXIED).chain(of_mounts);
    let known = known.chain(&OF_REPAIRS);
    assert_eq!(commits_in_source(), known.map(|c| (*c).to_owned()).collect());
}

/// Runs the child until it ends at the point.
fn run_until(part: &str, commit: &str, point: &str, root: &Path) {
    let ended = program(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, format!("{part}|{commit}|{}", root.display()))
        .env("BERTH_FAILPOINT", format!("{point}:abort"))
        .into_command()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(ended.status.signal(), Some(6), "{point}: {ended:?}");
}

/// Records of activations and what is mounted agree after each end, and a start.
#[tokio::test]
async fn every_point_of_the_commits_of_mounts() {
    if !is_root() {
        return;
    }
    for (commit, before, after) in OF_MOUNTS {
        for (step, there) in [("before-commit", before), ("after-commit", after)] {
            let point = format!("{commit}.{step}");
            let dir = tempfile::tempdir().unwrap();
            let targets = dir.path().join("targets");
            let (store, s) = open(dir.path());
            let mounts = open_mounts(&s, dir.path()).await;
            mounts.activate(asked("kept", dir.path())).await.unwrap();
            mounts.activate(asked("old", dir.path())).await.unwrap();
            if commit == "forget lost mounts" {
                berth_mount::unmount_beneath(&targets).unwrap();
            }
            drop((mounts, s));
            store.close().await;
            run_until(MOUNTS, commit, &point, dir.path());
            let (store, s) = open(dir.path());
            let mounts = open_mounts(&s, dir.path()).await;
            let about = if ["activate mounts", "begin activation"].contains(&commit) {
                "new"
            } else {
                "old"
            };
            assert_eq!(mounts.info("default", about).is_ok(), there, "{point}");
            let listed = mounts.list("default", |_| true).unwrap();
            let points: BTreeSet<_> =
                listed.iter().flat_map(|a| a.active.iter().map(|at| at.point.clone())).collect();
            let mounted = mountinfo::beneath(&targets).unwrap();
            let mounted: BTreeSet<_> = mounted.into_iter().map(|at| at.mount_point).collect();
            assert_eq!(mounted, points, "{point}");
            berth_mount::unmount_beneath(&targets).unwrap();
            store.close().await;
        }
    }
}

/// The names of all commits that the service's source makes.
fn commits_in_source() -> BTreeSet<String> {
    commits_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap()
}
