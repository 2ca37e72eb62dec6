//! The snapshotter btrfs, looked at with btrfs's own program. Needs root, and btrfs-progs.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use berth_bundle::snapshots::{BTRFS, Kind, Snapshots};
use berth_ids::Labels;
use berth_mount::mountinfo;
use berth_testkit::run;
use support::{Node, caller, commit, directories, is_root, prepare, space};

fn subvolume(node: &Node, id: u64) -> PathBuf {
    node.dir.path().join(BTRFS).join("snapshots").join(id.to_string())
}

fn number(path: &Path) -> String {
    run(&format!("btrfs inspect-internal rootid {}", path.display())).unwrap().trim().to_owned()
}

fn is_read_only(path: &Path) -> bool {
    let told = run(&format!("btrfs property get -ts {} ro", path.display())).unwrap();
    told.trim() == "ro=true"
}

/// How many subvolumes the whole file system has.
fn subvolumes(node: &Node) -> usize {
    let at = node.dir.path().join(BTRFS);
    run(&format!("btrfs subvolume list {}", at.display())).unwrap().lines().count()
}

async fn view(s: &Snapshots, key: &str, parent: &str) -> Vec<berth_mount::Mount> {
    s.create(caller(), BTRFS, Kind::View, key, parent, Labels::new()).await.unwrap()
}

#[tokio::test]
async fn mounts_name_the_device_and_the_subvolumes_number() {
    if !is_root() {
        return;
    }
    let node = Node::with(BTRFS);
    let s = node.open().await;
    let at = node.dir.path().join(BTRFS);
    let device = mountinfo::read().unwrap().into_iter().find(|mount| mount.mount_point == at);
    let device = device.unwrap().source;
    let active = prepare(&s, BTRFS, "a", "").await.unwrap();
    assert_eq!((&*active[0].kind, &active[0].source), ("btrfs", &device));
    assert_eq!(active[0].options, [format!("subvolid={}", number(&subvolume(&node, 1)))]);
    commit(&s, BTRFS, "A", "a").await.unwrap();
    let shown = view(&s, "v", "A").await;
    let committed = s.stat(&caller(), BTRFS, "A").await.unwrap();
    assert_eq!(committed.kind, Kind::Committed);
    let [id] = ids(&node, &["v"]).await[..] else { panic!("one view") };
    assert_eq!(
        shown[0].options,
        [format!("subvolid={}", number(&subvolume(&node, id))), "ro".to_owned()]
    );
    assert!(is_read_only(&subvolume(&node, id)));
}

/// The numbers of the directories that are newest: those of the last keys, in turn.
async fn ids(node: &Node, keys: &[&str]) -> Vec<u64> {
    let names = fs::read_dir(node.dir.path().join(BTRFS).join("snapshots")).unwrap();
    let mut found: Vec<u64> =
        names.map(|name| name.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    found.sort_unstable();
    found.split_off(found.len() - keys.len())
}

#[tokio::test]
async fn a_commit_is_read_only_and_what_is_mounted_still_changes_nothing_of_it() {
    if !is_root() {
        return;
    }
    let node = Node::with(BTRFS);
    let s = node.open().await;
    let active = node.mount(&prepare(&s, BTRFS, "a", "").await.unwrap());
    fs::write(active.path().join("before"), "1").unwrap();
    commit(&s, BTRFS, "A", "a").await.unwrap();
    s.cleared().await;
    // The active subvolume is gone, for all but who has it.
    let _ = fs::write(active.path().join("after"), "2");
    let [id] = ids(&node, &["A"]).await[..] else { panic!("one snapshot") };
    assert!(is_read_only(&subvolume(&node, id)));
    assert_eq!((directories(node.dir.path(), BTRFS, "snapshots"), subvolumes(&node)), (1, 1));
    let shown = node.mount(&view(&s, "v", "A").await);
    assert!(shown.path().join("before").exists() && !shown.path().join("after").exists());
    drop((active, shown));
    s.remove(&space(), None, BTRFS, "v").await.unwrap();
    s.remove(&space(), None, BTRFS, "A").await.unwrap();
    s.cleared().await;
    assert_eq!((directories(node.dir.path(), BTRFS, "snapshots"), subvolumes(&node)), (0, 0));
}

/// A layer of a file, and on it a snapshot that changes a part of it and adds another.
async fn own_usage(node: &Node) {
    const MIB: u64 = 1 << 20;
    let s = node.open().await;
    let base = node.mount(&prepare(&s, BTRFS, "base", "").await.unwrap());
    for n in 0..20 {
        fs::write(base.path().join(format!("small{n}")), "x").unwrap();
    }
    fs::write(base.path().join("large"), vec![b'x'; 8 * (1 << 20)]).unwrap();
    drop(base);
    commit(&s, BTRFS, "BASE", "base").await.unwrap();
    let usage = s.usage(&caller(), BTRFS, "BASE").await.unwrap();
    assert_eq!(usage.inodes, 22);
    assert!((8 * MIB..9 * MIB).contains(&usage.size), "{usage:?}");
    let top = node.mount(&prepare(&s, BTRFS, "top", "BASE").await.unwrap());
    let none = s.usage(&caller(), BTRFS, "top").await.unwrap();
    assert!(none.inodes == 0 && none.size < MIB / 4, "{none:?}");
    let large = fs::OpenOptions::new().write(true).open(top.path().join("large")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, &[b'y'; 65536], 4096).unwrap();
    fs::write(top.path().join("new"), vec![b'z'; 1 << 20]).unwrap();
    fs::read(top.path().join("small0")).unwrap();
    // The root, the changed file and the new one.
    for key in ["top", "TOP"] {
        if key == "TOP" {
            commit(&s, BTRFS, "TOP", "top").await.unwrap();
        }
        let usage = s.usage(&caller(), BTRFS, key).await.unwrap();
        assert_eq!(usage.inodes, 3, "{key}");
        assert!((MIB + 65536..MIB + MIB / 2).contains(&usage.size), "{key} {usage:?}");
    }
}

#[tokio::test]
async fn usage_is_what_the_parent_does_not_have() {
    if is_root() {
        own_usage(&Node::with(BTRFS)).await;
    }
}

#[tokio::test]
async fn usage_is_told_by_quota_groups_that_count() {
    if !is_root() {
        return;
    }
    let node = Node::with(BTRFS);
    let at = node.dir.path().join(BTRFS);
    run(&format!("btrfs quota enable {}", at.display())).unwrap();
    run(&format!("btrfs quota rescan -w {}", at.display())).unwrap();
    own_usage(&node).await;
    // What they count, the trees' own blocks too, of a snapshot that nobody shares anything with.
    let s = node.open().await;
    let alone = node.mount(&prepare(&s, BTRFS, "alone", "").await.unwrap());
    fs::write(alone.path().join("file"), vec![b'x'; 1 << 20]).unwrap();
    let usage = s.usage(&caller(), BTRFS, "alone").await.unwrap();
    let [id] = ids(&node, &["alone"]).await[..] else { panic!("one snapshot") };
    let groups = format!("btrfs qgroup show --raw -F {}", subvolume(&node, id).display());
    let told = run(&groups).unwrap();
    assert!(told.contains(&usage.size.to_string()), "{usage:?} {told}");
}

#[tokio::test]
async fn subvolumes_that_a_container_has_made_are_deleted_with_its_snapshot() {
    if !is_root() {
        return;
    }
    let node = Node::with(BTRFS);
    let s = node.open().await;
    let active = node.mount(&prepare(&s, BTRFS, "a", "").await.unwrap());
    let at = |name: &str| active.path().join(name).display().to_string();
    for name in ["one", "one/two", "one/two/three"] {
        run(&format!("btrfs subvolume create {}", at(name))).unwrap();
        fs::write(at(&format!("{name}/file")), "x").unwrap();
    }
    run(&format!("btrfs subvolume snapshot -r {} {}", at("one"), at("four"))).unwrap();
    drop(active);
    assert_eq!(subvolumes(&node), 5);
    s.remove(&space(), None, BTRFS, "a").await.unwrap();
    s.cleared().await;
    assert_eq!((directories(node.dir.path(), BTRFS, "trash"), subvolumes(&node)), (0, 0));
}

#[tokio::test]
async fn a_start_deletes_subvolumes_without_a_record_and_makes_lost_ones_again() {
    if !is_root() {
        return;
    }
    let node = Node::with(BTRFS);
    let s = node.open().await;
    let base = node.mount(&prepare(&s, BTRFS, "base", "").await.unwrap());
    fs::write(base.path().join("file"), "x").unwrap();
    drop(base);
    commit(&s, BTRFS, "BASE", "base").await.unwrap();
    prepare(&s, BTRFS, "lost", "BASE").await.unwrap();
    let [lost] = ids(&node, &["lost"]).await[..] else { panic!("one snapshot") };
    drop(s);
    run(&format!("btrfs subvolume delete {}", subvolume(&node, lost).display())).unwrap();
    for place in ["snapshots/999", "staging/998", "trash/997"] {
        let path = node.dir.path().join(BTRFS).join(place);
        run(&format!("btrfs subvolume create {}", path.display())).unwrap();
        run(&format!("btrfs subvolume create {}", path.join("in").display())).unwrap();
    }
    let s = node.open().await;
    s.cleanup(BTRFS).await.unwrap();
    assert_eq!(subvolumes(&node), 2);
    let shown = node.mount(&s.mounts(&caller(), BTRFS, "lost").await.unwrap());
    assert_eq!(fs::read(shown.path().join("file")).unwrap(), b"x");
}

#[tokio::test]
async fn another_file_system_is_skipped_and_told() {
    let node = Node::new();
    let s = node.open().await;
    let absent = s.absent().iter().find(|absent| absent.name == BTRFS).unwrap();
    let told = absent.why.to_string();
    let at = node.dir.path().join(BTRFS);
    assert!(told.starts_with(&format!("path {} (", at.display())), "{told}");
    let expected =
        ") must be a btrfs filesystem to be used with the btrfs snapshotter: skip plugin";
    assert!(told.ends_with(expected) && !told.contains(" () "), "{told}");
    assert!(!at.exists());
    let refused = prepare(&s, BTRFS, "k", "").await.unwrap_err().to_string();
    assert_eq!(refused, "snapshotter not loaded: btrfs: invalid argument");
}
