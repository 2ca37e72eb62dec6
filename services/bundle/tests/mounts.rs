//! Activated mounts: made, told, undone, collected, found again. Needs root: it mounts.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use berth_bundle::Error;
use berth_bundle::check::{ACTIVATION_LOST, Bundle};
use berth_bundle::diff::{Apply, apply};
use berth_bundle::layer::Limits;
use berth_bundle::mounts::{Activating, Activation, Activations, KIND};
use berth_bundle::processors::{Payloads, Processors};
use berth_bundle::snapshots::Caller;
use berth_check::{Asked, Outcome};
use berth_errors::{Code, Coded};
use berth_lifecycle::Tasks;
use berth_mount::{Mount, mountinfo};
use support::{Node, caller, is_root, labels};

async fn open(node: &Node) -> Activations {
    let targets = node.dir.path().join("targets");
    fs::create_dir_all(&targets).unwrap();
    let s = node.open().await;
    Activations::open(&s, targets, vec![node.dir.path().join("overlayfs")], &Tasks::new())
        .await
        .unwrap()
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
    let activations = Activations::open(&s, targets, Vec::new(), &Tasks::new()).await.unwrap();
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
    s.pin(key("held"), false).await.unwrap();
    let dead = ["held", "dead", "new"].map(key).to_vec();
    let swept = berth_bundle::sweep::sweep(&s, &activations, 1, dead).await.unwrap();
    assert_eq!(swept, [key("dead")]);
    assert_eq!((mounted(&node).len(), entries(&node)), (2, 2));
    // With its lease: the row went too, though the activation took it along.
    s.begin(2).await;
    let row = ("default".to_owned(), "leases".to_owned(), "l@3".to_owned());
    let dead = vec![row.clone(), key("held")];
    let mut swept = berth_bundle::sweep::sweep(&s, &activations, 2, dead).await.unwrap();
    swept.sort();
    assert_eq!(swept, [row, key("held")]);
    activations.deactivate("default", "new").await.unwrap();
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

fn mount(kind: &str, source: &Path, options: &[&str]) -> Mount {
    Mount {
        kind: kind.into(),
        source: source.display().to_string(),
        target: String::new(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

/// A file system made in a file, as a device, mounted, with an overlay's directories in it.
fn whole_stack(node: &Node) -> Vec<Mount> {
    let lower = node.dir.path().join("one");
    fs::create_dir_all(&lower).unwrap();
    fs::write(lower.join("a"), "a").unwrap();
    let image = node.dir.path().join("overlayfs/disk.img");
    let mkfs = ["X-containerd.mkfs.size=16MiB", "X-containerd.mkfs.fs=ext4"];
    let lower = format!("lowerdir={}", lower.display());
    let overlay = [
        "X-containerd.mkdir.path={{ mount 1 }}/upper:0755",
        "X-containerd.mkdir.path={{ mount 1 }}/work:0755",
        &lower,
        "upperdir={{ mount 1 }}/upper",
        "workdir={{ mount 1 }}/work",
    ];
    vec![
        mount("mkfs/loop", &image, &mkfs),
        mount("format/ext4", Path::new("{{ mount 0 }}"), &[]),
        mount("format/mkdir/overlay", Path::new("overlay"), &overlay),
    ]
}

fn device(activation: &Activation) -> PathBuf {
    fs::read_link(&activation.active[0].point).unwrap()
}

fn backing(device: &Path) -> Option<String> {
    let name = device.file_name().unwrap().to_str().unwrap();
    fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()
}

#[tokio::test]
async fn a_file_system_is_made_attached_and_written_to_over_restarts() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let activations = open(&node).await;
    let done = activations.activate(asked("disk", whole_stack(&node), false)).await.unwrap();
    assert_eq!((done.active.len(), done.system.len()), (2, 1));
    let device = device(&done);
    let shown = node.mount(&done.system);
    fs::write(shown.path().join("b"), "written").unwrap();
    assert!(shown.path().join("a").exists());
    drop(shown);
    // As after a kill: nobody was told that it ends.
    drop(activations);
    let activations = open(&node).await;
    assert_eq!(activations.info("default", "disk").unwrap(), done);
    activations.deactivate("default", "disk").await.unwrap();
    assert_eq!((mounted(&node).len(), entries(&node)), (0, 0));
    // The kernel lets go of it with its last user, which a child of another test may be for a moment.
    let detached = || !backing(&device).is_some_and(|file| file.contains("disk.img"));
    let soon = std::time::Duration::from_secs(60);
    berth_testkit::until("the device is detached", soon, detached).unwrap();
    // What was written is in the file.
    let done = activations.activate(asked("disk", whole_stack(&node), false)).await.unwrap();
    let shown = node.mount(&done.system);
    assert_eq!(fs::read_to_string(shown.path().join("b")).unwrap(), "written");
    drop(shown);
    activations.deactivate("default", "disk").await.unwrap();
}

/// As after a reboot where the folder of state is on a disk: the link is there, its number is
/// somebody else's.
#[tokio::test]
async fn a_device_that_is_anothers_by_now_is_left_alone() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let activations = open(&node).await;
    let stack = whole_stack(&node)[..1].to_vec();
    let done = activations.activate(asked("disk", stack, false)).await.unwrap();
    drop(activations);
    let point = done.active[0].point.clone();
    let name = point.display().to_string();
    berth_mount::LoopDevice::find(&device(&done), &name).unwrap().unwrap().release().unwrap();
    let file = node.dir.path().join("others");
    fs::write(&file, vec![0; 4096]).unwrap();
    let others = berth_mount::LoopDevice::attach(&file, Default::default()).unwrap();
    fs::remove_file(&point).unwrap();
    std::os::unix::fs::symlink(others.path(), &point).unwrap();
    let activations = open(&node).await;
    assert!(activations.list("default", |_| true).unwrap().is_empty());
    assert_eq!(entries(&node), 0);
    assert_eq!(backing(others.path()).unwrap().trim_end(), file.display().to_string());
}

#[tokio::test]
async fn loop_devices_are_read_only_when_that_is_asked_for() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let activations = open(&node).await;
    let file = node.dir.path().join("file");
    fs::write(&file, vec![1; 4096]).unwrap();
    let list = vec![mount("loop", &file, &["ro"])];
    let done = activations.activate(asked("ro", list, false)).await.unwrap();
    let device = device(&done);
    let number = device.file_name().unwrap().to_str().unwrap();
    assert_eq!(fs::read_to_string(format!("/sys/block/{number}/ro")).unwrap().trim(), "1");
    assert_eq!(fs::read(&done.active[0].point).unwrap(), vec![1; 4096]);
    activations.deactivate("default", "ro").await.unwrap();
    let list = vec![mount("loop", &node.dir.path().join("nothing"), &[])];
    assert_eq!(code(activations.activate(asked("none", list, false)).await), Code::NotFound);
    let outside = vec![mount("mkfs/loop", &file, &["X-containerd.mkfs.size=1m"])];
    assert_eq!(code(activations.activate(asked("x", outside, false)).await), Code::Unimplemented);
    let sizeless = vec![mount("mkfs/loop", &node.dir.path().join("overlayfs/x"), &[])];
    assert_eq!(
        code(activations.activate(asked("x", sizeless, false)).await),
        Code::InvalidArgument
    );
    assert_eq!(entries(&node), 0);
}

#[tokio::test]
async fn erofs_images_are_layers() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let activations = open(&node).await;
    let mut stack = Vec::new();
    for layer in ["one", "two"] {
        let tree = node.dir.path().join(layer);
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join(layer), layer).unwrap();
        let image = node.dir.path().join(format!("{layer}.erofs"));
        let (image_text, tree) = (image.display(), tree.display());
        berth_testkit::run(&format!("mkfs.erofs --quiet {image_text} {tree}")).unwrap();
        stack.push(mount("erofs", &image, &["ro", "loop"]));
    }
    stack.push(mount("format/overlay", Path::new("overlay"), &["lowerdir={{ overlay 1 0 }}"]));
    let done = activations.activate(asked("layers", stack, false)).await.unwrap();
    assert_eq!((done.active.len(), done.system.len()), (2, 1));
    let shown = node.mount(&done.system);
    for layer in ["one", "two"] {
        assert_eq!(fs::read_to_string(shown.path().join(layer)).unwrap(), layer);
    }
    drop(shown);
    activations.deactivate("default", "layers").await.unwrap();
    assert_eq!((mounted(&node).len(), entries(&node)), (0, 0));
}

/// Whoever asked has gone: what was begun is done, told and collected as any other.
#[tokio::test]
async fn an_activation_that_is_given_up_is_made_all_the_same() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let s = node.open().await;
    let targets = node.dir.path().join("targets");
    fs::create_dir_all(&targets).unwrap();
    let tasks = Tasks::new();
    let roots = vec![node.dir.path().join("overlayfs")];
    let activations = Activations::open(&s, targets, roots, &tasks).await.unwrap();
    let asking = activations.activate(asked("gone", whole_stack(&node), false));
    let mut asking = Box::pin(asking);
    // Polled once: begun, and not done.
    assert!(futures::poll!(asking.as_mut()).is_pending());
    drop(asking);
    while activations.nodes().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    // A collection waits for it.
    s.begin(1).await;
    let done = activations.info("default", "gone").unwrap();
    assert_eq!(done.active.len(), 2);
    let mut leaving = Box::pin(activations.deactivate("default", "gone"));
    assert!(futures::poll!(leaving.as_mut()).is_pending());
    drop(leaving);
    assert!(tasks.drain(std::time::Duration::from_secs(30)).await.is_empty());
    assert_eq!((mounted(&node).len(), entries(&node)), (0, 0));
}

/// Diff and Apply take what a client would activate first.
#[tokio::test]
async fn layers_are_applied_to_what_an_activation_would_make() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let activations = open(&node).await;
    let temporary = node.dir.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let blob = node.dir.path().join("blob");
    fs::write(&blob, support::Tar::default().file("new", "n").file(".wh.a", "").end()).unwrap();
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let mounts = whole_stack(&node);
    let asked_for = Apply {
        layer: "l".to_owned(),
        mounts: mounts.clone(),
        temporary: temporary.clone(),
        roots: vec![node.dir.path().join("overlayfs")],
        limits: Limits::default(),
    };
    let chain = Processors::default().chain("l", layer).unwrap();
    let input = fs::File::open(&blob).unwrap();
    apply(asked_for, chain, Payloads::new(), input).await.unwrap();
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left mounted");
    let done = activations.activate(asked("disk", mounts, false)).await.unwrap();
    let shown = node.mount(&done.system);
    assert!(shown.path().join("new").exists() && !shown.path().join("a").exists());
    drop(shown);
    activations.deactivate("default", "disk").await.unwrap();
}

#[tokio::test]
async fn a_check_finds_an_activation_without_its_mounts() {
    if !is_root() {
        return;
    }
    let node = Node::new();
    let targets = node.dir.path().join("targets");
    fs::create_dir_all(&targets).unwrap();
    let snapshots = node.open().await;
    let roots = vec![node.dir.path().join("overlayfs")];
    let activations = Activations::open(&snapshots, targets, roots, &Tasks::new()).await.unwrap();
    activations.activate(asked("a", vec![bind(node.dir.path())], true)).await.unwrap();
    let bundle = Bundle { snapshots: &snapshots, activations: &activations };
    let check = async |repair| {
        let report = berth_check::check(&bundle, Asked { repair, digests: false }).await.unwrap();
        report.findings.into_iter().map(|(f, o)| (f.kind, f.name, o)).collect::<Vec<_>>()
    };
    assert_eq!(check(false).await, []);
    for point in mounted(&node).into_iter().rev() {
        rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
    let found = |outcome| [(ACTIVATION_LOST, "a".to_owned(), outcome)];
    assert_eq!(check(false).await, found(Outcome::Found));
    assert_eq!(check(true).await, found(Outcome::Mended));
    assert_eq!(check(false).await, []);
    assert_eq!(entries(&node), 0);
}
