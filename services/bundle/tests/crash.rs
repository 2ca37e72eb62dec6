//! A process that is killed in the middle: nothing half-made is seen, what is left is cleared
//! away. Needs root.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use berth_bundle::layer::Limits;
use berth_bundle::snapshots::{EROFS, Snapshots, StagedLayer};
use berth_store::{Options, Store};
use berth_testkit::{program, until};
use support::{
    ALL, Pins, Shown, Tar, caller, commit, directories, furnish, is_root, prepare, put, settings,
    space,
};

/// Where a child works, and the snapshotter.
const CHILD: &str = "BERTH_TEST_CRASH";

fn open(root: &Path) -> (Store, Snapshots) {
    let store = Store::open(root.join("b.redb"), Options::default()).unwrap();
    let (listener, owners) = (Arc::new(|_: &_, _: &str, _| ()), Arc::new(Pins::default()));
    let settings = settings(root);
    let snapshots =
        Snapshots::open_with(root, store.clone(), None, listener, owners, settings).unwrap();
    (store, snapshots)
}

fn layer(name: &str) -> StagedLayer {
    StagedLayer {
        caller: caller(),
        snapshotter: name.to_owned(),
        staging: "s".to_owned(),
        layer: "sha256:l".to_owned(),
        parent: String::new(),
    }
}

/// The child: applies the layer that comes on its standard input, commits it, prepares a snapshot
/// on it, commits that and removes it.
#[tokio::test]
async fn child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (name, root) = what.split_once(' ').unwrap();
    let (_, s) = open(Path::new(root));
    s.stage(layer(name), std::io::stdin(), Limits::default()).await.unwrap();
    put(&s, name, "s", "layer", "").await.unwrap();
    prepare(&s, name, "active", "layer").await.unwrap();
    commit(&s, name, "committed", "active").await.unwrap();
    s.remove(&space(), None, name, "committed").await.unwrap();
}

fn start(name: &str, root: &Path, failpoint: &str) -> Child {
    program(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, format!("{name} {}", root.display()))
        .env("BERTH_FAILPOINT", failpoint)
        .into_command()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn archive() -> Vec<u8> {
    Tar::default().dir("d/").file("d/first", "1").file("d/last", &"x".repeat(1 << 20)).end()
}

async fn nothing_is_left(root: &Path, s: &Snapshots, name: &str) {
    assert_eq!(s.list(&caller(), name, |_| true).await.unwrap().len(), 0);
    for part in ["staging", "snapshots"] {
        assert_eq!(directories(root, name, part), 0, "{name} {part}");
    }
}

#[tokio::test]
async fn a_layer_that_was_being_extracted_is_gone() {
    if !is_root() {
        return;
    }
    for name in ALL {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let _disk = furnish(name, root);
        let mut child = start(name, root, "");
        let archive = archive();
        child.stdin.as_mut().unwrap().write_all(&archive[..archive.len() / 2]).unwrap();
        // The last file has begun: the kill comes in the middle of it.
        let places = [root.join(name).join("staging"), root.join("mounts")];
        let begun = || {
            let found = places.iter().filter_map(|place| std::fs::read_dir(place).ok());
            found.flatten().flatten().any(|found| {
                ["d/last", "fs/d/last"].iter().any(|last| found.path().join(last).exists())
            })
        };
        until("the layer's last file begins", Duration::from_secs(30), begun).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let (store, s) = open(root);
        nothing_is_left(root, &s, name).await;
        s.cleanup(name).await.unwrap();
        assert_eq!(directories(root, name, "trash"), 0);
        // The same once more, undisturbed.
        let bytes = std::io::Cursor::new(archive);
        s.stage(layer(name), bytes, Limits::default()).await.unwrap();
        put(&s, name, "s", "layer", "").await.unwrap();
        assert_eq!(s.list(&caller(), name, |_| true).await.unwrap().len(), 1);
        store.close().await;
    }
}

/// Runs the child until it ends at the failpoint.
fn run_until(name: &str, root: &Path, failpoint: &str) {
    let mut child = start(name, root, &format!("{failpoint}:abort"));
    child.stdin.take().unwrap().write_all(&archive()).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{failpoint}: {status}: {said}");
}

#[tokio::test]
async fn what_was_recorded_is_whole_and_nothing_else_is_there() {
    if !is_root() {
        return;
    }
    let expected = [
        ("commit layer.before-commit", &[][..]),
        ("commit layer.after-commit", &["layer"]),
        ("create snapshot.before-commit", &["layer"]),
        ("create snapshot.after-commit", &["active", "layer"]),
        ("commit snapshot.before-commit", &["active", "layer"]),
        ("commit snapshot.after-commit", &["committed", "layer"]),
        ("remove snapshot.before-commit", &["committed", "layer"]),
        ("remove snapshot.after-commit", &["layer"]),
    ];
    for name in ALL {
        for (failpoint, there) in expected {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path();
            let _disk = furnish(name, root);
            run_until(name, root, failpoint);
            let (store, s) = open(root);
            let found = s.list(&caller(), name, |_| true).await.unwrap();
            let found: Vec<_> = found.iter().map(|info| &*info.name).collect();
            assert_eq!(found, there, "{name} {failpoint}");
            assert_eq!(directories(root, name, "snapshots"), there.len(), "{name} {failpoint}");
            assert_eq!(directories(root, name, "staging"), 0, "{name} {failpoint}");
            if there.contains(&"layer") {
                let mounts = prepare(&s, name, "look", "layer").await.unwrap();
                let mounted = Shown::new(&mounts, root);
                let last = std::fs::read(mounted.path().join("d/last")).unwrap();
                assert_eq!(last.len(), 1 << 20);
            }
            store.close().await;
        }
    }
}

/// What a commit has made of a snapshot before it was cut off is no part of it: what is written
/// later counts. Of one that was committed nothing is left but its image.
#[tokio::test]
async fn an_image_that_has_no_record_is_made_anew() {
    if !is_root() {
        return;
    }
    for point in ["before", "after"] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        run_until(EROFS, root, &format!("commit snapshot.{point}-commit"));
        let snapshots = std::fs::read_dir(root.join(EROFS).join("snapshots")).unwrap();
        let mut paths = snapshots.map(|entry| entry.unwrap().path());
        let cut_off = paths.find(|path| path.join(".converting").exists()).unwrap();
        let at = |name: &str| cut_off.join(name);
        assert!(at("layer.erofs").exists());
        std::fs::write(at("layer.erofs.1-1"), "half").unwrap();
        let (store, s) = open(root);
        assert!(!at(".converting").exists());
        if point == "before" {
            assert!(!at("layer.erofs").exists() && !at("layer.erofs.1-1").exists());
            let mounts = s.mounts(&caller(), EROFS, "active").await.unwrap();
            std::fs::write(Shown::new(&mounts, root).path().join("later"), "1").unwrap();
            commit(&s, EROFS, "committed", "active").await.unwrap();
            s.cleared().await;
        }
        assert_eq!(std::fs::read_dir(at("fs")).unwrap().count(), 0);
        assert!(!at("work").exists() && !at(".erofslayer").exists(), "{point}");
        let mounts = prepare(&s, EROFS, "look", "committed").await.unwrap();
        let shown = Shown::new(&mounts, root);
        assert_eq!(shown.path().join("later").exists(), point == "before");
        assert!(shown.path().join("d/last").exists());
        drop(shown);
        store.close().await;
    }
}
