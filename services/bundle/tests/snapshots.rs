//! What every snapshotter must do, as functions that take one, run on each of the service's own.
//! Needs root: they mount.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::collections::BTreeSet;
use std::fs;

use berth_bundle::layer::Limits;
use berth_bundle::mounts::Activations;
use berth_bundle::snapshots::{
    BLOCKFILE, BTRFS, Caller, EROFS, Kind, LabelChange, NATIVE, OVERLAYFS, Settings, Snapshots,
    StagedLayer,
};
use berth_errors::{Code, Coded};
use berth_ids::Labels;
use berth_lifecycle::Tasks;
use support::{
    Node, caller, commit, directories, is_root, labels, on_all, prepare, put, settings, space,
    stage, sweep,
};

fn leased(incarnation: u64) -> Caller {
    Caller { lease: Some(("l".to_owned(), incarnation)), ..caller() }
}

/// Makes committed snapshots from files, each on the one before.
async fn stack(node: &Node, s: &Snapshots, name: &str, layers: &[&[(&str, &str)]]) -> String {
    let mut parent = String::new();
    for (n, files) in layers.iter().enumerate() {
        let key = format!("work{n}-{}", layers.len());
        let mounts = prepare(s, name, &key, &parent).await.unwrap();
        {
            let mounted = node.mount(&mounts);
            for (path, text) in *files {
                let path = mounted.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        let done = format!("layer{n}-{}", layers.len());
        commit(s, name, &done, &key).await.unwrap();
        parent = done;
    }
    parent
}

async fn children_see_their_parents_and_not_each_other(node: &Node, s: &Snapshots, name: &str) {
    let top = stack(node, s, name, &[&[("a", "1"), ("d/b", "2")], &[("a", "3")]]).await;
    let left = prepare(s, name, "left", &top).await.unwrap();
    let right = prepare(s, name, "right", &top).await.unwrap();
    let (left, right) = (node.mount(&left), node.mount(&right));
    assert_eq!(fs::read(left.path().join("a")).unwrap(), b"3");
    assert_eq!(fs::read(left.path().join("d/b")).unwrap(), b"2");
    fs::remove_file(left.path().join("d/b")).unwrap();
    fs::write(left.path().join("new"), "x").unwrap();
    assert!(right.path().join("d/b").exists() && !right.path().join("new").exists());
    drop(left);
    commit(s, name, "left-done", "left").await.unwrap();
    let view = s.create(caller(), name, Kind::View, "view", "left-done", Labels::new());
    let view = node.mount(&view.await.unwrap());
    assert!(!view.path().join("d/b").exists() && view.path().join("new").exists());
    assert!(fs::write(view.path().join("other"), "x").is_err());
    assert!(!s.mounts(&caller(), name, "view").await.unwrap().is_empty());
}

async fn names_and_states_are_checked(node: &Node, s: &Snapshots, name: &str) {
    let code = |result: Result<(), berth_bundle::Error>| result.unwrap_err().code();
    let top = stack(node, s, name, &[&[("a", "1")]]).await;
    prepare(s, name, "k", &top).await.unwrap();
    assert_eq!(code(prepare(s, name, "k", &top).await.map(drop)), Code::AlreadyExists);
    assert_eq!(code(prepare(s, name, "x", "nothing").await.map(drop)), Code::NotFound);
    assert_eq!(code(prepare(s, name, "x", "k").await.map(drop)), Code::InvalidArgument);
    assert_eq!(code(prepare(s, name, "", "").await.map(drop)), Code::InvalidArgument);
    assert_eq!(code(prepare(s, "zfs", "x", "").await.map(drop)), Code::InvalidArgument);
    assert_eq!(code(commit(s, name, &top, "k").await), Code::AlreadyExists);
    assert_eq!(code(commit(s, name, "y", "nothing").await), Code::NotFound);
    assert_eq!(code(commit(s, name, "y", &top).await), Code::FailedPrecondition);
    assert_eq!(code(s.mounts(&caller(), name, &top).await.map(drop)), Code::FailedPrecondition);
    let refused = s.remove(&space(), None, name, &top).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.to_string().contains("cannot remove snapshot with child"), "{refused}");
    let said = prepare(s, "zfs", "x", "").await.unwrap_err().to_string();
    assert_eq!(said, "snapshotter not loaded: zfs: invalid argument");
    let said = prepare(s, name, "x", "nothing").await.unwrap_err().to_string();
    assert_eq!(said, "parent snapshot nothing does not exist: not found");
    let said = commit(s, name, "y", "nothing").await.unwrap_err().to_string();
    assert_eq!(said, "snapshot nothing does not exist: not found");
    let said = commit(s, name, &top, "k").await.unwrap_err().to_string();
    assert_eq!(said, format!("snapshot {top:?}: already exists"));
    // A parent that one has already is kept, whatever is asked for, as with containerd.
    let done = s.commit(caller(), name, "kept", "k", "nothing", Labels::new()).await;
    done.unwrap();
    assert_eq!(s.stat(&caller(), name, "kept").await.unwrap().parent, top);
    s.remove(&space(), None, name, "kept").await.unwrap();
    s.remove(&space(), None, name, &top).await.unwrap();
    assert_eq!(code(s.remove(&space(), None, name, &top).await), Code::NotFound);
    assert_eq!(code(s.stat(&caller(), name, &top).await.map(drop)), Code::NotFound);
}

async fn a_committed_snapshot_may_get_its_parent_late(node: &Node, s: &Snapshots, name: &str) {
    if ![OVERLAYFS, EROFS].contains(&name) {
        return;
    }
    let base = stack(node, s, name, &[&[("base", "1")]]).await;
    let mounts = prepare(s, name, "alone", "").await.unwrap();
    fs::write(node.mount(&mounts).path().join("top"), "2").unwrap();
    s.commit(caller(), name, "rebased", "alone", &base, Labels::new()).await.unwrap();
    let refused = s.remove(&space(), None, name, &base).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let both = prepare(s, name, "both", "rebased").await.unwrap();
    let both = node.mount(&both);
    assert!(both.path().join("base").exists() && both.path().join("top").exists());
}

async fn labels_are_set_listed_and_changed(node: &Node, s: &Snapshots, name: &str) {
    let me = caller();
    stack(node, s, name, &[&[("a", "1")]]).await;
    let first = labels(&[("x", "1"), ("y", "2")]);
    s.create(caller(), name, Kind::Active, "k", "", first).await.unwrap();
    let one = vec![LabelChange::One("x".to_owned()), LabelChange::One("y".to_owned())];
    let info = s.update(&me, name, "k", labels(&[("x", "3")]), one).await.unwrap();
    assert_eq!(info.labels, labels(&[("x", "3")]));
    let info = s.update(&me, name, "k", labels(&[("z", "4")]), vec![]).await.unwrap();
    assert_eq!(info.labels, labels(&[("z", "4")]));
    assert!(info.updated > info.created);
    let active = s.list(&me, name, |info| info.kind == Kind::Active).await.unwrap();
    assert_eq!(active.iter().map(|i| &*i.name).collect::<Vec<_>>(), ["k"]);
    assert_eq!(s.list(&me, name, |_| true).await.unwrap().len(), 2);
    let other = Caller { namespace: "other".parse().unwrap(), lease: None };
    assert!(s.list(&other, name, |_| true).await.unwrap().is_empty());
    let usage = s.usage(&me, name, "layer0-1").await.unwrap();
    // The file, and the directory that it is in; a block file is one, an image too.
    let inodes = if [BLOCKFILE, EROFS].contains(&name) { 1 } else { 2 };
    assert!(usage.inodes == inodes && usage.size >= 4096, "{name} {usage:?}");
}

async fn a_target_that_is_there_is_told_and_leased(_: &Node, s: &Snapshots, name: &str) {
    prepare(s, name, "k", "").await.unwrap();
    commit(s, name, "target", "k").await.unwrap();
    let reference = labels(&[("containerd.io/snapshot.ref", "target")]);
    let again = s.create(leased(7), name, Kind::Active, "k2", "", reference).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    let held = s.holds("default", "l").unwrap();
    assert_eq!((held.len(), held[0].incarnation, &*held[0].id), (1, 7, "target"));
}

async fn collection_spares_what_is_used(node: &Node, s: &Snapshots, name: &str) {
    for (key, to) in [("a", "A"), ("b", "B"), ("c", "C")] {
        prepare(s, name, key, "").await.unwrap();
        commit(s, name, to, key).await.unwrap();
    }
    let kind = format!("snapshots/{name}");
    let of = |key: &str| ("default".to_owned(), kind.clone(), key.to_owned());
    s.begin(1).await;
    prepare(s, name, "child", "A").await.unwrap();
    s.pin(of("B"), false).await.unwrap();
    s.pin(of("none"), false).await.unwrap();
    let dead = ["A", "B", "C", "child", "none"].map(of).to_vec();
    assert_eq!(sweep(node, s, 1, dead.clone()).await, [of("C")]);
    s.end(1).await.unwrap();
    s.begin(2).await;
    let swept = sweep(node, s, 2, dead).await;
    assert_eq!(swept.len(), 3, "{swept:?}");
    assert!(s.nodes().unwrap().is_empty());
}

async fn what_is_there_is_held_before_it_is_relied_on(node: &Node, s: &Snapshots, name: &str) {
    assert!(!s.hold_present(leased(7), name, "k").await.unwrap());
    assert!(s.holds("default", "l").unwrap().is_empty(), "there is nothing");
    prepare(s, name, "k", "").await.unwrap();
    s.begin(1).await;
    assert!(s.hold_present(leased(7), name, "k").await.unwrap());
    let held = s.holds("default", "l").unwrap();
    assert_eq!((held.len(), held[0].incarnation, &*held[0].id), (1, 7, "k"));
    // A collection that has seen it before it was held.
    let dead = vec![("default".to_owned(), format!("snapshots/{name}"), "k".to_owned())];
    assert!(sweep(node, s, 1, dead).await.is_empty());
}

/// Whoever came to rely on one thing relies on all that it refers to.
async fn what_a_spared_thing_keeps_is_spared(node: &Node, s: &Snapshots, name: &str) {
    let kind = format!("snapshots/{name}");
    let of = |key: &str| ("default".to_owned(), kind.clone(), key.to_owned());
    let label = |what: &str| format!("containerd.io/gc.{what}.snapshot.{name}");
    let with = |what: &str, to: &str| labels(&[(&*label(what), to)]);
    for (key, labels) in [
        ("near", with("ref", "middle")),
        ("middle", with("ref", "far")),
        ("far", labels(&[])),
        ("behind", with("bref", "far")),
        ("dead", with("ref", "alone")),
        ("alone", labels(&[])),
    ] {
        s.create(caller(), name, Kind::Active, key, "", labels).await.unwrap();
    }
    s.begin(1).await;
    s.pin(of("near"), false).await.unwrap();
    let dead = ["alone", "far", "behind", "dead", "middle", "near"].map(of).to_vec();
    let swept: BTreeSet<_> = sweep(node, s, 1, dead).await.into_iter().collect();
    assert_eq!(swept, ["alone", "dead"].map(of).into());
}

/// The rows of a lease that is no more go; a lease that came later keeps its own.
async fn rows_of_dead_leases_go(node: &Node, s: &Snapshots, name: &str) {
    for (key, incarnation) in [("old", 4), ("new", 44)] {
        s.create(leased(incarnation), name, Kind::Active, key, "", labels(&[])).await.unwrap();
    }
    let rows =
        |incarnation: u64| ("default".to_owned(), "leases".to_owned(), format!("l@{incarnation}"));
    s.begin(1).await;
    let nodes = s.nodes().unwrap();
    assert!(nodes.iter().any(|node| node.key == rows(4) && node.refs.len() == 1), "{nodes:?}");
    assert_eq!(sweep(node, s, 1, vec![rows(4)]).await, [rows(4)]);
    let left = s.holds("default", "l").unwrap();
    assert_eq!((left.len(), left[0].incarnation), (1, 44));
    // One that was made meanwhile, which the collection did not see.
    s.create(leased(45), name, Kind::Active, "late", "", labels(&[])).await.unwrap();
    assert!(sweep(node, s, 1, vec![rows(45)]).await.is_empty());
    assert_eq!(s.holds("default", "l").unwrap().len(), 2);
}

/// A sweep of an epoch that is over drops nothing, wherever it was held up.
async fn only_an_open_epoch_is_swept(node: &Node, s: &Snapshots, name: &str) {
    prepare(s, name, "k", "").await.unwrap();
    let dead = vec![("default".to_owned(), format!("snapshots/{name}"), "k".to_owned())];
    let targets = node.dir.path().join("targets");
    fs_err::create_dir_all(&targets).unwrap();
    let activations = Activations::open(s, targets, Vec::new(), &Tasks::new()).await.unwrap();
    s.begin(1).await;
    s.begin(2).await;
    let late = berth_bundle::sweep::sweep(s, &activations, 1, dead.clone()).await.unwrap_err();
    assert_eq!(late.code(), Code::Aborted, "{late}");
    s.end(2).await.unwrap();
    let late = berth_bundle::sweep::sweep(s, &activations, 2, dead).await.unwrap_err();
    assert_eq!(late.code(), Code::Aborted, "{late}");
    s.stat(&caller(), name, "k").await.unwrap();
}

/// A lease that is gone holds nothing, and stops nobody.
async fn a_removal_takes_the_hold(_: &Node, s: &Snapshots, name: &str) {
    s.create(leased(7), name, Kind::Active, "k", "", labels(&[])).await.unwrap();
    s.create(leased(7), name, Kind::Active, "other", "", labels(&[])).await.unwrap();
    s.remove(&space(), Some("l".to_owned()), name, "k").await.unwrap();
    let left = s.holds("default", "l").unwrap();
    assert_eq!(left.iter().map(|row| &*row.id).collect::<Vec<_>>(), ["other"]);
    s.remove(&space(), Some("gone".to_owned()), name, "other").await.unwrap();
}

async fn a_fence_keeps_new_things_out(_: &Node, s: &Snapshots, name: &str) {
    s.fence("default", true).await.unwrap();
    let refused = prepare(s, name, "k", "").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    s.fence("default", false).await.unwrap();
    prepare(s, name, "k", "").await.unwrap();
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

async fn staged_layers_become_snapshots(node: &Node, s: &Snapshots, name: &str) {
    let stage =
        async |staging: &str, parent: &str, bytes| stage(s, name, staging, parent, bytes).await;
    let put = async |staging: &str, to: &str, parent: &str| put(s, name, staging, to, parent).await;
    stage("s0", "", tar(&[("d/a", "1"), ("b", "2")])).await.unwrap();
    let twice = stage("s0", "", tar(&[])).await.unwrap_err();
    assert_eq!(twice.code(), Code::AlreadyExists);
    put("s0", "zero", "").await.unwrap();
    stage("s1", "zero", tar(&[(".wh.b", ""), ("d/c", "3")])).await.unwrap();
    assert_eq!(put("s1", "one", "none").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(put("s1", "one", "zero").await.unwrap_err().code(), Code::NotFound);
    stage("s1", "zero", tar(&[(".wh.b", ""), ("d/c", "3")])).await.unwrap();
    put("s1", "one", "zero").await.unwrap();
    stage("s2", "zero", tar(&[("x", "")])).await.unwrap();
    assert_eq!(put("s2", "one", "zero").await.unwrap_err().code(), Code::AlreadyExists);
    stage("s3", "zero", tar(&[("x", "")])).await.unwrap();
    s.discard_staged(&caller(), name, "s3").unwrap();
    let broken = stage("s4", "zero", b"not a tar ".repeat(100)).await.unwrap_err();
    assert_eq!(broken.code(), Code::InvalidArgument);
    assert_eq!(put("s4", "four", "zero").await.unwrap_err().code(), Code::NotFound);
    let shown = prepare(s, name, "k", "one").await.unwrap();
    let shown = node.mount(&shown);
    let names: Vec<bool> =
        ["d/a", "d/c", "b", "x"].iter().map(|p| shown.path().join(p).exists()).collect();
    assert_eq!(names, [true, true, false, false]);
}

async fn owners_are_mapped_in_several_ranges(node: &Node, s: &Snapshots, name: &str) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let create = async |key: &str, kind, parent: &str, uids: &str, gids: &str| {
        let mapped = labels(&[
            ("containerd.io/snapshot/uidmapping", uids),
            ("containerd.io/snapshot/gidmapping", gids),
        ]);
        s.create(caller(), name, kind, key, parent, mapped).await
    };
    let owner = |path: std::path::PathBuf| {
        let found = fs::symlink_metadata(path).unwrap();
        (found.uid(), found.gid())
    };
    // Without a parent the root gets the owner.
    let alone = create("alone", Kind::Active, "", "0:1000:65536", "0:1000:65536").await.unwrap();
    assert_eq!(owner(node.mount(&alone).path().into()), (1000, 1000));
    // With one all that it has is shown so.
    let base = node.mount(&prepare(s, name, "base", "").await.unwrap());
    for (file, uid) in [("root", 0), ("ten", 10), ("other", 500)] {
        fs::write(base.path().join(file), file).unwrap();
        chown(base.path().join(file), Some(uid), Some(uid)).unwrap();
    }
    fs::set_permissions(base.path().join("ten"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(base.path().join("ten"), base.path().join("again")).unwrap();
    std::os::unix::fs::symlink("/nothing", base.path().join("link")).unwrap();
    drop(base);
    commit(s, name, "top", "base").await.unwrap();
    let (uids, gids) = ("0:1000:1,10:5000:5", "0:2000:50");
    for (key, kind) in [("write", Kind::Active), ("read", Kind::View)] {
        if (name, kind) == (NATIVE, Kind::View) {
            continue; // It shows the parent itself.
        }
        let shown = node.mount(&create(key, kind, "top", uids, gids).await.unwrap());
        let at = |file: &str| owner(shown.path().join(file));
        assert_eq!((at("."), at("root"), at("link")), ((1000, 2000), (1000, 2000), (1000, 2000)));
        assert_eq!((at("ten"), at("again")), ((5000, 2010), (5000, 2010)));
        let mode = fs::metadata(shown.path().join("ten")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o4755);
        assert_eq!(fs::read(shown.path().join("other")).unwrap(), b"other");
    }
    // The parent has the owners that it had.
    let plain = node.mount(&prepare(s, name, "plain", "top").await.unwrap());
    assert_eq!(owner(plain.path().join("ten")), (10, 10));
    let again = s.mounts(&caller(), name, "write").await.unwrap();
    assert_eq!(owner(node.mount(&again).path().join("ten")), (5000, 2010));
    for (uids, gids) in [("x", "0:1:1"), ("0:1:1", ""), ("1:1:1", "0:1:1")] {
        let wrong = create("wrong", Kind::Active, "top", uids, gids).await.unwrap_err();
        assert_eq!(wrong.code(), Code::InvalidArgument, "{wrong}");
    }
    assert_eq!(s.stat(&caller(), name, "wrong").await.unwrap_err().code(), Code::NotFound);
}

/// As clients do it where owners are not mapped: a copy with other owners, then a snapshot on it
/// with the labels.
async fn a_copy_with_mapped_owners_is_not_mapped_again(node: &Node, s: &Snapshots, name: &str) {
    use std::os::unix::fs::{MetadataExt, chown};
    if [OVERLAYFS, EROFS].contains(&name) {
        return;
    }
    let copy = node.mount(&prepare(s, name, "remap", "").await.unwrap());
    for path in [copy.path().to_owned(), copy.path().join("file")] {
        if path != copy.path() {
            fs::write(&path, "x").unwrap();
        }
        chown(path, Some(2000), Some(2000)).unwrap();
    }
    drop(copy);
    commit(s, name, "remapped", "remap").await.unwrap();
    let map = "0:2000:65536";
    let mapped = labels(&[
        ("containerd.io/snapshot/uidmapping", map),
        ("containerd.io/snapshot/gidmapping", map),
    ]);
    let shown = s.create(caller(), name, Kind::Active, "k", "remapped", mapped).await.unwrap();
    let shown = node.mount(&shown);
    assert_eq!(fs::metadata(shown.path().join("file")).unwrap().uid(), 2000);
}

async fn a_start_clears_what_a_crash_has_left(node: &Node, s: &Snapshots, name: &str) {
    let root = node.dir.path();
    prepare(s, name, "k", "").await.unwrap();
    fs::create_dir_all(root.join(name).join("snapshots/999/fs")).unwrap();
    fs::create_dir_all(root.join(name).join("staging/5/fs")).unwrap();
    fs::create_dir_all(root.join(name).join("trash/x")).unwrap();
    s.cleanup(name).await.unwrap();
    assert_eq!(directories(root, name, "snapshots"), 1);
    assert_eq!(directories(root, name, "trash"), 0);
}

macro_rules! conformance {
    ($($test:ident: $case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $test() {
            on_all($case).await;
        })+
    };
}

conformance!(
    parents: children_see_their_parents_and_not_each_other,
    checks: names_and_states_are_checked,
    rebase: a_committed_snapshot_may_get_its_parent_late,
    label: labels_are_set_listed_and_changed,
    target: a_target_that_is_there_is_told_and_leased,
    collection: collection_spares_what_is_used,
    present: what_is_there_is_held_before_it_is_relied_on,
    spared: what_a_spared_thing_keeps_is_spared,
    rows: rows_of_dead_leases_go,
    epochs: only_an_open_epoch_is_swept,
    removal: a_removal_takes_the_hold,
    fence: a_fence_keeps_new_things_out,
    staging: staged_layers_become_snapshots,
    mapping: owners_are_mapped_in_several_ranges,
    copies: a_copy_with_mapped_owners_is_not_mapped_again,
    leftovers: a_start_clears_what_a_crash_has_left,
);

#[tokio::test]
async fn one_that_is_left_out_is_not_loaded_and_keeps_what_it_has() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = node.open().await;
    let top = stack(&node, &s, NATIVE, &[&[("a", "1")]]).await;
    let left_out = vec![NATIVE.to_owned()];
    let without = node.open_as(Settings { left_out, ..settings(node.dir.path()) }).await;
    assert!(!without.names().contains(&NATIVE));
    assert!(without.absent().iter().all(|absent| absent.name != NATIVE));
    let error = without.resolve(NATIVE).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.to_string(), "snapshotter not loaded: native: invalid argument");
    prepare(&without, NATIVE, "k", "").await.unwrap_err();
    drop(without);
    let again = node.open().await;
    let mounts = prepare(&again, NATIVE, "k", &top).await.unwrap();
    assert_eq!(fs::read(node.mount(&mounts).path().join("a")).unwrap(), b"1");
    // The next best stands for the default, and none at all is no end of the service.
    let all = [OVERLAYFS, NATIVE, BTRFS, BLOCKFILE, EROFS].map(str::to_owned);
    for (left_out, default) in [(&all[..1], NATIVE), (&all[..], OVERLAYFS)] {
        let left_out = left_out.to_vec();
        let s = node.open_as(Settings { left_out, ..settings(node.dir.path()) }).await;
        assert_eq!(s.resolve("").unwrap(), default);
    }
}

#[tokio::test]
async fn a_restart_keeps_records_and_clears_the_rest() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let root = node.dir.path();
    {
        let s = node.open().await;
        prepare(&s, OVERLAYFS, "k", "").await.unwrap();
        prepare(&s, OVERLAYFS, "lost", "").await.unwrap();
        // What no Prepare takes, but an update: it keeps no start from succeeding.
        let key = "containerd.io/snapshot/uidmapping";
        let (bad, all) = (labels(&[(key, "x")]), vec![LabelChange::All]);
        s.update(&caller(), OVERLAYFS, "lost", bad, all).await.unwrap();
    }
    fs::create_dir_all(root.join("overlayfs/snapshots/999/fs")).unwrap();
    fs::create_dir_all(root.join("overlayfs/staging/5/fs")).unwrap();
    fs::remove_dir_all(root.join("overlayfs/snapshots/2")).unwrap();
    let s = node.open().await;
    assert_eq!(s.list(&caller(), OVERLAYFS, |_| true).await.unwrap().len(), 2);
    assert_eq!(directories(root, OVERLAYFS, "snapshots"), 2);
    assert_eq!(directories(root, OVERLAYFS, "staging"), 0);
    drop(node.mount(&s.mounts(&caller(), OVERLAYFS, "lost").await.unwrap()));
    prepare(&s, OVERLAYFS, "next", "").await.unwrap();
    assert!(root.join("overlayfs/snapshots/3/fs").exists());
}

#[tokio::test]
async fn overlay_mounts_are_containerds_option_for_option() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = node.open().await;
    let at = |part: &str| format!("{}/overlayfs/snapshots/{part}", node.dir.path().display());
    let first = prepare(&s, OVERLAYFS, "a", "").await.unwrap();
    assert_eq!((&*first[0].kind, &first[0].source), ("bind", &at("1/fs")));
    assert_eq!(first[0].options, ["rw", "rbind"]);
    commit(&s, OVERLAYFS, "A", "a").await.unwrap();
    let view = s.create(caller(), OVERLAYFS, Kind::View, "v", "A", Labels::new()).await.unwrap();
    assert_eq!(
        (&view[0].source, &*view[0].options),
        (&at("1/fs"), &["ro", "rbind"].map(str::to_owned)[..])
    );
    let second = prepare(&s, OVERLAYFS, "b", "A").await.unwrap();
    assert_eq!((&*second[0].kind, &*second[0].source), ("overlay", "overlay"));
    let expected = [
        format!("workdir={}", at("3/work")),
        format!("upperdir={}", at("3/fs")),
        format!("lowerdir={}", at("1/fs")),
    ];
    assert_eq!(second[0].options[..3], expected);
    assert_eq!(node.changes.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_hundred_and_thirty_layers_mount() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = node.open().await;
    let mut parent = String::new();
    for n in 0..130 {
        let layer = StagedLayer {
            caller: caller(),
            snapshotter: String::new(),
            staging: n.to_string(),
            layer: String::new(),
            parent: parent.clone(),
        };
        let bytes = std::io::Cursor::new(tar(&[(&format!("f{n}"), "x")]));
        s.stage(layer, bytes, Limits::default()).await.unwrap();
        let name = format!("c{n}");
        s.commit_staged(caller(), "", &n.to_string(), &name, &parent, Labels::new()).await.unwrap();
        parent = name;
    }
    let mounted = node.mount(&prepare(&s, "", "k", &parent).await.unwrap());
    assert!(mounted.path().join("f0").exists() && mounted.path().join("f129").exists());
}
