//! What a commit's record says is durable before the record is: the process's own system calls
//! are looked at. Needs root, and strace.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use berth_bundle::snapshots::{NATIVE, OVERLAYFS, Snapshots};
use berth_store::{Options, Store};
use berth_testkit::program;
use support::{Pins, Tar, commit, is_root, prepare, put, stage};

/// Where a child works, and the snapshotter.
const CHILD: &str = "BERTH_TEST_DURABLE";

/// What changes files, and what flushes them.
const CALLS: &str = "write,pwrite64,fchown,fchmod,fsetxattr,utimensat,rename,renameat,renameat2,\
                     syncfs,fsync,fdatasync,sync_file_range,msync";

/// The child: a base, a layer as usual builders make it, one that implies directories, and the
/// commit of a snapshot that was written to.
#[tokio::test]
async fn child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (name, root) = what.split_once(' ').unwrap();
    let root = Path::new(root);
    let store = Store::open(root.join("b.redb"), Options::default()).unwrap();
    let (listener, owners) = (Arc::new(|_: &_, _: &str, _| ()), Arc::new(Pins::default()));
    let s = Snapshots::open(root, store, None, listener, owners).unwrap();
    let base = Tar::default().dir("./").dir("d/").file("d/a", "1").dir("d/e/");
    let usual = Tar::default().dir("d/").file("d/b", "2").file("d/c", "3");
    let implying = Tar::default().file("d/e/f", "4");
    let mut parent = "";
    for (layer, archive) in [("base", base), ("usual", usual), ("implying", implying)] {
        stage(&s, name, layer, parent, archive.end()).await.unwrap();
        put(&s, name, layer, layer, parent).await.unwrap();
        parent = layer;
    }
    let mounts = prepare(&s, name, "active", parent).await.unwrap();
    let mounted = berth_mount::TempMount::new(&mounts, root, "m").unwrap();
    std::fs::write(mounted.path().join("written"), "5").unwrap();
    drop(mounted);
    commit(&s, name, "committed", "active").await.unwrap();
    // The store would be flushed once more.
    std::process::exit(0);
}

/// One call of the child: its name, and the file below the root that it is about.
struct Call {
    name: String,
    path: String,
    /// Where to, of a move.
    to: Option<String>,
}

/// Reads a line of strace: `PID name(FD<PATH>, …) = 0`.
fn call(line: &str, root: &Path) -> Option<Call> {
    let (_, rest) = line.trim_start().split_once(' ')?;
    let (name, arguments) = rest.trim_start().split_once('(')?;
    let prefix = format!("{}/", root.display());
    let mut paths = arguments.split(['<', '>', '"']).filter_map(|part| part.strip_prefix(&prefix));
    let path = paths.next()?.to_owned();
    let to = name.starts_with("rename").then(|| paths.next().unwrap().to_owned());
    Some(Call { name: name.to_owned(), path, to })
}

fn calls_of_child(name: &str, root: &Path) -> Vec<Call> {
    let trace = root.join("trace");
    program("strace")
        .args(["-f", "-y", "-s", "0", "-e", &format!("trace={CALLS}"), "-o"])
        .args([&trace])
        .args([std::env::current_exe().unwrap()])
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, format!("{name} {}", root.display()))
        .output()
        .unwrap()
        .ok()
        .unwrap();
    let trace = std::fs::read_to_string(trace).unwrap();
    let calls: Vec<_> = trace.lines().filter_map(|line| call(line, root)).collect();
    // What the start of the store and the snapshotters has flushed is no matter of commits.
    let first = calls.iter().position(|call| call.path.contains("staging/")).unwrap();
    calls.into_iter().skip(first).collect()
}

fn is_flush(call: &Call) -> bool {
    ["syncfs", "fsync", "fdatasync", "sync_file_range", "msync"].contains(&&*call.name)
}

/// The files that have changed since they were last flushed, at each commit of a record.
fn unflushed(calls: &[Call]) -> Vec<BTreeSet<String>> {
    let (mut dirty, mut at_commits) = (BTreeSet::new(), Vec::new());
    for call in calls {
        match &*call.name {
            "fdatasync" if call.path == "b.redb" => at_commits.push(dirty.clone()),
            _ if call.path == "b.redb" => {}
            "syncfs" => dirty.clear(),
            "fsync" => drop(dirty.remove(&call.path)),
            _ => match &call.to {
                Some(to) => {
                    let moved = |path: &String| path.replacen(&call.path, to, 1);
                    dirty = dirty.iter().map(moved).collect();
                    dirty.insert(Path::new(to).parent().unwrap().display().to_string());
                }
                None => drop(dirty.insert(call.path.clone())),
            },
        }
    }
    at_commits
}

#[tokio::test]
async fn what_a_record_says_is_flushed_before_it_once() {
    if !is_root() {
        return;
    }
    const RECORD: (&str, &str) = ("fdatasync", "b.redb");
    let overlay: &[_] = &[
        ("syncfs", "overlayfs/staging/1/fs"),
        ("fsync", "overlayfs/snapshots"),
        RECORD,
        ("syncfs", "overlayfs/staging/2/fs"),
        ("fsync", "overlayfs/snapshots/2/fs"),
        ("fsync", "overlayfs/snapshots"),
        RECORD,
        ("syncfs", "overlayfs/staging/3/fs"),
        ("syncfs", "overlayfs/snapshots/3"),
        RECORD,
        // Prepared, which promises nothing of files; then committed.
        RECORD,
        ("syncfs", "overlayfs/snapshots/4"),
        RECORD,
    ];
    let native: &[_] = &[
        ("syncfs", "native/staging/1"),
        ("fsync", "native/snapshots"),
        RECORD,
        ("syncfs", "native/staging/2"),
        ("fsync", "native/snapshots"),
        RECORD,
        ("syncfs", "native/staging/3"),
        ("fsync", "native/snapshots"),
        RECORD,
        RECORD,
        ("syncfs", "native/snapshots/4"),
        RECORD,
    ];
    for (name, expected) in [(OVERLAYFS, overlay), (NATIVE, native)] {
        let dir = tempfile::tempdir().unwrap();
        let calls = calls_of_child(name, dir.path());
        let flushes = calls.iter().filter(|call| is_flush(call));
        let flushes: Vec<_> = flushes.map(|call| (&*call.name, &*call.path)).collect();
        assert_eq!(flushes, expected, "{name}");
        let unflushed = unflushed(&calls);
        let prepared = 3;
        for (commit, files) in unflushed.iter().enumerate().filter(|(n, _)| *n != prepared) {
            assert!(files.is_empty(), "{name}: at commit {commit} not flushed: {files:?}");
        }
        assert!(!unflushed[prepared].is_empty(), "{name}: the trace shows no change of a file");
    }
}
