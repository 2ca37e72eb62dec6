//! Activated mounts: made, told, undone, collected, found again. Needs root: it mounts.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use berth_bundle::Error;
use berth_bundle::mounts::{Activating, Activation, Activations, KIND};
use berth_bundle::snapshots::Caller;
use berth_errors::{Code, Coded};
use berth_mount::{Mount, mountinfo};
use support::{Node, caller, is_root, labels};

async fn open(node: &Node) -> Activations {
    let targets = node.dir.path().join("targets");
    fs::create_dir_all(&targets).unwrap();
    let s = node.open().await;
    Activations::open(&s, targets, vec![node.dir.path().join("overlayfs")]).await.unwrap()
}

fn bind(source: &Path) -> Mount {
    Mount {
        kind: "bind".into(),
        source: source.display().to_string(),
        target: String::new(),
        options: vec!["rbind".into(), "ro".into()],
    }
}

fn asked(name: &str, mounts: Vec<Mount>, temporary: bool) -> Activating {
    let labels = labels(&[("x", "1"), ("containerd.io/gc.bref.container", "c")]);
    Activating { caller: caller(), name: name.to_owned(), mounts, labels, temporary }
}

fn mounted(node: &Node) -> Vec<PathBuf> {
    let targets = node.dir.path().join("targets");
    mountinfo::beneath(&targets).unwrap().into_iter().map(|m| m.mount_point).collect()
}

fn entries(node: &Node) -> usize {
    fs::read_dir(node.dir.path().join("targets")).unwrap().count()
}

fn code(result: Result<Activation, Error>) -> Code {
    result.unwrap_err().code()
}

/// Two layers, and an overlay on where they are mounted.
fn layered(node: &Node) -> Vec<Mount> {
    let at = |name: &str| node.dir.path().join(name);
    for (name, file) in [("one", "a"), ("two", "b")] {
        fs::create_dir_all(at(name)).unwrap();
        fs::write(at(name).join(file), file).unwrap();
    }
    let made = at("overlayfs").join("made");
    let overlay = Mount {
        kind: "format/mkdir/overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options: vec![
            format!("X-containerd.mkdir.path={}:711", made.display()),
            "lowerdir={{ overlay 1 0 }}".into(),
        ],
    };
    vec![bind(&at("one")), bind(&at("two")), overlay]
}

#[tokio::test]
async fn what_is_before_a_formatted_mount_is_made_and_the_rest_told() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let activations = open(&node).await;
    let done = activations.activate(asked("n", layered(&node), false)).await.unwrap();
    let points: Vec<_> = done.active.iter().map(|active| active.point.clone()).collect();
    assert_eq!(mounted(&node), points);
    assert!(points[0].join("a").exists() && points[1].join("b").exists());
    let lower = format!("lowerdir={}:{}", points[1].display(), points[0].display());
    assert_eq!((&*done.system[0].kind, &*done.system[0].options), ("overlay", &[lower][..]));
    assert!(node.dir.path().join("overlayfs/made").is_dir());
    assert_eq!(activations.info("default", "n").unwrap(), done);
    assert_eq!(
        activations.list("default", |a| a.name == "n").unwrap(),
        std::slice::from_ref(&done)
    );
    assert!(activations.list("other", |_| true).unwrap().is_empty());
    assert_eq!(
        code(activations.activate(asked("n", layered(&node), false)).await),
        Code::AlreadyExists
    );
    let shown = node.mount(&done.system);
    assert!(shown.path().join("a").exists() && shown.path().join("b").exists());
    drop(shown);
    activations.deactivate("default", "n").await.unwrap();
    assert_eq!((mounted(&node).len(), entries(&node)), (0, 0));
    assert_eq!(code(activations.info("default", "n")), Code::NotFound);
    assert_eq!(activations.deactivate("default", "n").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn temporary_mounts_are_all_made_here() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let activations = open(&node).await;
    let two = layered(&node)[..2].to_vec();
    assert_eq!(
        code(activations.activate(asked("n", two.clone(), false)).await),
        Code::Unimplemented
    );
    assert_eq!(
        code(activations.activate(asked("", two.clone(), true)).await),
        Code::InvalidArgument
    );
    let done = activations.activate(asked("n", two, true)).await.unwrap();
    assert_eq!((done.active.len(), done.system.len()), (2, 1));
    assert_eq!(done.system[0].source, done.active[1].point.display().to_string());
    // A failure in the middle leaves nothing.
    let mut broken = layered(&node)[..2].to_vec();
    broken[1].source = node.dir.path().join("nothing").display().to_string();
    let failed = activations.activate(asked("broken", broken, true)).await.unwrap_err();
    assert!(berth_errors::chain(&failed).contains("nothing"), "{failed}");
    assert_eq!((mounted(&node).len(), entries(&node)), (2, 1));
    assert_eq!(code(activations.info("default", "broken")), Code::NotFound);
    activations.deactivate("default", "n").await.unwrap();
}

#[tokio::test]
async fn activations_live_with_what_they_are_for() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let activations = open(&node).await;
    let s = node.open().await;
    let targets = node.dir.path().join("targets");
    drop(activations);
    let activations = Activations::open(&s, targets, Vec::new()).await.unwrap();
    let leased = Caller { lease: Some(("l".to_owned(), 3)), ..caller() };
    let one = layered(&node)[..1].to_vec();
    let held = Activating { caller: leased, ..asked("held", one.clone(), true) };
    activations.activate(held).await.unwrap();
    activations.activate(asked("dead", one.clone(), true)).await.unwrap();
    let rows = s.holds("default", "l").unwrap();
    assert_eq!((&*rows[0].kind, &*rows[0].id, rows[0].incarnation), (KIND, "held", 3));
    let nodes = activations.nodes().unwrap();
    assert_eq!(nodes[0].kept_by, [("containers".to_owned(), "c".to_owned())]);
    let key = |name: &str| ("default".to_owned(), KIND.to_owned(), name.to_owned());
    s.begin(1).await;
    activations.activate(asked("new", one, true)).await.unwrap();
    s.pin(key("held")).await.unwrap();
    let dead = ["held", "dead", "new"].map(key).to_vec();
    let swept = berth_bundle::sweep::sweep(&s, &activations, 1, dead).await.unwrap();
    assert_eq!(swept, [key("dead")]);
    assert_eq!((mounted(&node).len(), entries(&node)), (2, 2));
    for name in ["held", "new"] {
        activations.deactivate("default", name).await.unwrap();
    }
    assert!(s.holds("default", "l").unwrap().is_empty());
}

#[tokio::test]
async fn a_start_keeps_what_is_mounted_and_drops_the_rest() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let activations = open(&node).await;
    let one = layered(&node)[..1].to_vec();
    let kept = activations.activate(asked("kept", one.clone(), true)).await.unwrap();
    let lost = activations.activate(asked("lost", one.clone(), true)).await.unwrap();
    drop(activations);
    // As after a reboot, and as after a crash in the middle.
    berth_mount::unmount_all(&lost.active[0].point).unwrap();
    let stray = node.dir.path().join("targets/77/0");
    fs::create_dir_all(&stray).unwrap();
    berth_mount::mount_all(&one, &stray).unwrap();
    let activations = open(&node).await;
    assert_eq!(activations.list("default", |_| true).unwrap(), std::slice::from_ref(&kept));
    assert_eq!(mounted(&node), [kept.active[0].point.clone()]);
    assert_eq!(entries(&node), 1);
    activations.activate(asked("lost", one, true)).await.unwrap();
    for name in ["kept", "lost"] {
        activations.deactivate("default", name).await.unwrap();
    }
}
