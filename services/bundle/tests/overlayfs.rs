//! What is configured of overlayfs. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::path::Path;

use berth_bundle::Error;
use berth_bundle::snapshots::{LabelChange, OVERLAYFS, OverlaySettings, Settings, Snapshots};
use berth_ids::Labels;
use berth_store::{Options, Store};
use support::{Node, Pins, caller, commit, is_root, labels, prepare};

const UPPERDIR: &str = "containerd.io/snapshot/overlay.upperdir";

/// Snapshotters below `root`; the store is to be closed before they are opened again.
async fn open(root: &Path, overlay: OverlaySettings) -> Result<(Snapshots, Store), Error> {
    open_with(root, Settings { overlay, ..Settings::default() }).await
}

async fn open_with(root: &Path, settings: Settings) -> Result<(Snapshots, Store), Error> {
    let store = Store::open(root.join("b.redb"), Options::default()).unwrap();
    let (listener, owners) =
        (std::sync::Arc::new(|_: &_, _: &_, _| {}), std::sync::Arc::new(Pins::default()));
    let opened = Snapshots::open_with(root, store.clone(), None, listener, owners, settings);
    match opened {
        Ok(snapshots) => Ok((snapshots, store)),
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}

fn at(root: &Path) -> OverlaySettings {
    OverlaySettings { root: Some(root.to_owned()), ..OverlaySettings::default() }
}

#[tokio::test]
async fn a_snapshot_tells_where_its_files_are_if_that_is_wanted() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let wanted = OverlaySettings { upperdir_label: true, ..OverlaySettings::default() };
    let (s, store) = open(dir.path(), wanted).await.unwrap();
    let me = caller();
    let created = labels(&[("x", "1")]);
    s.create(me.clone(), OVERLAYFS, berth_bundle::snapshots::Kind::Active, "k", "", created)
        .await
        .unwrap();
    let upper = dir.path().join("overlayfs/snapshots/1/fs").display().to_string();
    let expected = labels(&[("x", "1"), (UPPERDIR, &upper)]);
    assert_eq!(s.stat(&me, OVERLAYFS, "k").await.unwrap().labels, expected);
    let listed = s.list(&me, OVERLAYFS, |info| info.labels.contains_key(UPPERDIR)).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].labels, expected);
    let new = labels(&[("x", "2")]);
    let updated = s.update(&me, OVERLAYFS, "k", new, vec![LabelChange::All]).await.unwrap();
    assert_eq!(updated.labels, labels(&[("x", "2"), (UPPERDIR, &upper)]));
    prepare(&s, "native", "n", "").await.unwrap();
    assert_eq!(s.stat(&me, "native", "n").await.unwrap().labels, Labels::new());
    // One that somebody gave it counts, as with containerd.
    let own = labels(&[(UPPERDIR, "/own")]);
    prepare(&s, OVERLAYFS, "own", "").await.unwrap();
    s.update(&me, OVERLAYFS, "own", own.clone(), vec![LabelChange::All]).await.unwrap();
    assert_eq!(s.stat(&me, OVERLAYFS, "own").await.unwrap().labels, own);
    // It is told, not kept.
    drop(s);
    store.close().await;
    let (s, _store) = open(dir.path(), OverlaySettings::default()).await.unwrap();
    assert_eq!(s.stat(&me, OVERLAYFS, "k").await.unwrap().labels, labels(&[("x", "2")]));
}

#[tokio::test]
async fn snapshots_are_where_the_root_path_says() {
    if !is_root() {
        return;
    }
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = other.path().join("made/here");
    let (s, store) = open(dir.path(), at(&place)).await.unwrap();
    let mounts = prepare(&s, OVERLAYFS, "k", "").await.unwrap();
    assert_eq!(Path::new(&mounts[0].source), place.join("snapshots/1/fs"));
    commit(&s, OVERLAYFS, "c", "k").await.unwrap();
    assert!(!dir.path().join("overlayfs").exists());
    assert_eq!(s.root(OVERLAYFS).unwrap(), place);
    drop(s);
    store.close().await;

    // Elsewhere, and without a root path, what is recorded is not there.
    for settings in [at(&other.path().join("another")), OverlaySettings::default()] {
        let Err(refused) = open(dir.path(), settings).await else { panic!("it is opened") };
        assert!(refused.to_string().contains("correct root_path"), "{refused}");
    }
    let (s, _store) = open(dir.path(), at(&place)).await.unwrap();
    drop(Node::new().mount(&prepare(&s, OVERLAYFS, "next", "c").await.unwrap()));
}

#[tokio::test]
async fn those_of_native_are_where_its_own_root_path_says() {
    if !is_root() {
        return;
    }
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = other.path().join("native");
    let at = |path: &Path| Settings { native_root: Some(path.to_owned()), ..Settings::default() };
    let (s, store) = open_with(dir.path(), at(&place)).await.unwrap();
    let mounts = prepare(&s, "native", "k", "").await.unwrap();
    assert_eq!(Path::new(&mounts[0].source), place.join("snapshots/1"));
    assert!(!dir.path().join("native").exists());
    commit(&s, "native", "c", "k").await.unwrap();
    drop(s);
    store.close().await;
    let Err(refused) = open_with(dir.path(), Settings::default()).await else {
        panic!("it is opened")
    };
    assert!(refused.to_string().contains("correct root_path"), "{refused}");
    let two = tempfile::tempdir().unwrap();
    let Err(refused) = open_with(two.path(), at(&place)).await else {
        panic!("two nodes share a folder")
    };
    assert!(refused.to_string().contains("names another node"), "{refused}");
}

/// What has no record is deleted: nobody else's snapshots may be taken for our own.
#[tokio::test]
async fn a_folder_of_others_is_refused_and_left_alone() {
    if !is_root() {
        return;
    }
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = one.path().join("place");
    let (s, _store) = open(one.path(), at(&place)).await.unwrap();
    prepare(&s, OVERLAYFS, "k", "").await.unwrap();
    let Err(refused) = open(two.path(), at(&place)).await else {
        panic!("two nodes share a folder")
    };
    assert!(refused.to_string().contains("names another node"), "{refused}");
    assert!(place.join("snapshots/1/fs").is_dir());

    let containerds = two.path().join("containerds");
    fs_err::create_dir_all(containerds.join("snapshots/7/fs")).unwrap();
    fs_err::write(containerds.join("metadata.db"), "").unwrap();
    let Err(refused) = open(two.path(), at(&containerds)).await else {
        panic!("containerd's are taken")
    };
    assert!(refused.to_string().contains("containerd"), "{refused}");
    assert!(containerds.join("snapshots/7/fs").is_dir());
}

#[tokio::test]
async fn a_removal_waits_for_its_files_if_that_is_wanted() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let wanted = OverlaySettings { sync_remove: true, ..OverlaySettings::default() };
    let (s, _store) = open(dir.path(), wanted).await.unwrap();
    let mounts = prepare(&s, OVERLAYFS, "k", "").await.unwrap();
    for number in 0..5000 {
        fs_err::write(Path::new(&mounts[0].source).join(number.to_string()), "").unwrap();
    }
    s.remove(&support::space(), None, OVERLAYFS, "k").await.unwrap();
    assert_eq!(fs_err::read_dir(dir.path().join("overlayfs/trash")).unwrap().count(), 0);
}

#[tokio::test]
async fn mount_options_are_those_of_the_kernels_mounts() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mount_options = vec!["volatile".to_owned(), "userxattr".to_owned()];
    let wanted = OverlaySettings { mount_options, ..OverlaySettings::default() };
    let (s, store) = open(dir.path(), wanted).await.unwrap();
    prepare(&s, OVERLAYFS, "k", "").await.unwrap();
    commit(&s, OVERLAYFS, "c", "k").await.unwrap();
    let mounts = prepare(&s, OVERLAYFS, "next", "c").await.unwrap();
    assert_eq!(mounts[0].options[3..5], ["volatile", "userxattr"]);
    let node = Node::new();
    let mounted = node.mount(&mounts);
    let table = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let place = mounted.path().display().to_string();
    let line = table.lines().find(|line| line.contains(&place)).unwrap();
    for option in ["volatile", "userxattr"] {
        assert!(line.contains(option), "{option}: {line}");
    }
    // Whiteouts that only their users' attributes mark cannot be put on another parent.
    let capabilities = s.capabilities(OVERLAYFS).unwrap();
    assert!(!capabilities.contains(&"rebase") && capabilities.contains(&"only-remap-ids"));
    drop((mounted, s));
    store.close().await;
    let slow = OverlaySettings { slow_chown: true, ..OverlaySettings::default() };
    let capabilities = open(dir.path(), slow).await.unwrap().0.capabilities(OVERLAYFS).unwrap();
    assert!(capabilities.contains(&"rebase") && !capabilities.contains(&"only-remap-ids"));
}

#[tokio::test]
async fn labels_that_are_too_long_and_no_name_are_refused_in_containerds_words() {
    let dir = tempfile::tempdir().unwrap();
    let (s, _store) = open(dir.path(), OverlaySettings::default()).await.unwrap();
    let (me, long) = (caller(), labels(&[("k", &*"v".repeat(4096))]));
    prepare(&s, "native", "k", "").await.unwrap();
    let kind = berth_bundle::snapshots::Kind::Active;
    for refused in [
        s.update(&me, "native", "k", long.clone(), vec![]).await.unwrap_err(),
        s.create(me.clone(), "native", kind, "l", "", long.clone()).await.unwrap_err(),
        s.commit(me.clone(), "native", "m", "k", "", long.clone()).await.unwrap_err(),
    ] {
        assert!(refused.to_string().starts_with("info.Labels: label key and value"), "{refused}");
        assert_eq!(berth_errors::Coded::code(&refused), berth_errors::Code::InvalidArgument);
    }
    let nameless = s.update(&me, "native", "", labels(&[]), vec![]).await.unwrap_err();
    assert_eq!(berth_errors::Coded::code(&nameless), berth_errors::Code::InvalidArgument);
}
