//! The snapshotter blockfile. Needs root, and e2fsprogs.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use berth_bundle::diff::{Making, make};
use berth_bundle::snapshots::{BLOCKFILE, BlockfileSettings, Kind, Settings, Snapshots};
use berth_ids::Labels;
use berth_mount::{Mount, TempMount};
use support::{Node, caller, commit, is_root, prepare, settings};

fn block(node: &Node, id: u64) -> PathBuf {
    node.dir.path().join(BLOCKFILE).join("snapshots").join(id.to_string()).join("block")
}

async fn view(s: &Snapshots, key: &str, parent: &str) -> Vec<Mount> {
    s.create(caller(), BLOCKFILE, Kind::View, key, parent, Labels::new()).await.unwrap()
}

/// As with every other snapshotter: what was written is in the commit, unmounted or not.
#[tokio::test]
async fn what_is_mounted_still_is_committed_with_all_that_was_written() {
    if !is_root() {
        return;
    }
    let node = Node::with(BLOCKFILE);
    let s = node.open().await;
    let active = node.mount(&prepare(&s, BLOCKFILE, "a", "").await.unwrap());
    fs::write(active.path().join("file"), vec![b'x'; 100_000]).unwrap();
    commit(&s, BLOCKFILE, "A", "a").await.unwrap();
    let child = node.mount(&prepare(&s, BLOCKFILE, "child", "A").await.unwrap());
    assert_eq!(fs::read(child.path().join("file")).unwrap(), vec![b'x'; 100_000]);
    let shown = node.mount(&view(&s, "v", "A").await);
    assert_eq!(fs::read(shown.path().join("file")).unwrap(), vec![b'x'; 100_000]);
    assert!(fs::write(shown.path().join("file"), "y").is_err());
    drop((active, shown));
    drop(node.mount(&s.mounts(&caller(), BLOCKFILE, "v").await.unwrap()));
}

#[tokio::test]
async fn a_difference_has_what_a_container_is_writing() {
    if !is_root() {
        return;
    }
    let node = Node::with(BLOCKFILE);
    let s = node.open().await;
    let base = node.mount(&prepare(&s, BLOCKFILE, "base", "").await.unwrap());
    fs::write(base.path().join("old"), "1").unwrap();
    fs::write(base.path().join("gone"), "1").unwrap();
    drop(base);
    commit(&s, BLOCKFILE, "BASE", "base").await.unwrap();
    let right = prepare(&s, BLOCKFILE, "container", "BASE").await.unwrap();
    let container = node.mount(&right);
    fs::write(container.path().join("new"), "2").unwrap();
    fs::remove_file(container.path().join("gone")).unwrap();
    let left = view(&s, "v", "BASE").await;
    let making = Making {
        left,
        right,
        media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        labels: Labels::default(),
        latest: None,
        temporary: node.dir.path().join("mounts"),
        roots: Vec::new(),
    };
    let (chunks, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(2);
    let gather = async {
        let mut blob = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            blob.extend_from_slice(&chunk);
        }
        blob
    };
    let (made, blob) = tokio::join!(make(making, chunks), gather);
    made.unwrap();
    let mut archive = tar::Archive::new(&*blob);
    let names = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
    let mut names: Vec<_> = names.filter(|name| name != &PathBuf::from("./")).collect();
    names.sort();
    assert_eq!(names, [".wh.gone", "new"].map(PathBuf::from));
    // It goes on writing.
    fs::write(container.path().join("more"), "3").unwrap();
}

#[tokio::test]
async fn usage_is_the_blocks_of_the_file_which_keeps_its_holes() {
    if !is_root() {
        return;
    }
    let node = Node::with(BLOCKFILE);
    let s = node.open().await;
    let active = node.mount(&prepare(&s, BLOCKFILE, "a", "").await.unwrap());
    fs::write(active.path().join("file"), vec![b'x'; 1 << 20]).unwrap();
    drop(active);
    commit(&s, BLOCKFILE, "A", "a").await.unwrap();
    let usage = s.usage(&caller(), BLOCKFILE, "A").await.unwrap();
    let found = fs::metadata(block(&node, 1)).unwrap();
    assert_eq!((usage.inodes, usage.size, found.len()), (1, found.blocks() * 512, 16 << 20));
    assert!((1 << 20..8 << 20).contains(&usage.size), "{usage:?}");
    prepare(&s, BLOCKFILE, "b", "A").await.unwrap();
    let copy = s.usage(&caller(), BLOCKFILE, "b").await.unwrap();
    assert!(copy.size <= usage.size + 65536, "{copy:?} of {usage:?}");
    view(&s, "v", "A").await;
    assert_eq!(s.usage(&caller(), BLOCKFILE, "v").await.unwrap().inodes, 0);
}

#[tokio::test]
async fn the_configured_scratch_is_copied_from_any_file_system_and_xfs_will_do() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let memory = Mount { kind: "tmpfs".to_owned(), source: "tmpfs".to_owned(), ..Mount::default() };
    let memory = TempMount::new(&[memory], node.dir.path(), "memory").unwrap();
    let from = memory.path().join("scratch");
    fs::File::create(&from).unwrap().set_len(320 << 20).unwrap();
    berth_testkit::run(&format!("mkfs.xfs -q {}", from.display())).unwrap();
    let root = node.dir.path().join("elsewhere");
    let blockfile = BlockfileSettings {
        root_path: Some(root.clone()),
        scratch_file: Some(from.clone()),
        fs_type: "xfs".to_owned(),
        // The scratch and its copies have one identity.
        mount_options: vec!["nouuid".to_owned()],
        recreate_scratch: false,
    };
    let settings = Settings { blockfile, ..settings(node.dir.path()) };
    let s = node.open_as(settings).await;
    let (taken, made) = (fs::metadata(&from).unwrap(), fs::metadata(root.join("scratch")).unwrap());
    assert_eq!(made.len(), taken.len());
    assert!(made.blocks() <= 2 * taken.blocks(), "{} of {}", made.blocks(), taken.blocks());
    let first = node.mount(&prepare(&s, BLOCKFILE, "a", "").await.unwrap());
    fs::write(first.path().join("file"), "x").unwrap();
    let second = node.mount(&prepare(&s, BLOCKFILE, "b", "").await.unwrap());
    assert!(!second.path().join("file").exists());
    drop(first);
    commit(&s, BLOCKFILE, "A", "a").await.unwrap();
    let shown = node.mount(&view(&s, "v", "A").await);
    assert_eq!(fs::read(shown.path().join("file")).unwrap(), b"x");
}
