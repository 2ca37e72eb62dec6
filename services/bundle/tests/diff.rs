//! Layers made from directories and applied again. Needs root: it mounts.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use berth_bundle::diff::{Making, make};
use berth_bundle::layer::{Limits, Target, Whiteouts, apply};
use berth_mount::Mount;
use support::{inside, is_root};

fn bind(path: &Path) -> Vec<Mount> {
    vec![Mount {
        kind: "bind".into(),
        source: path.display().to_string(),
        target: String::new(),
        options: vec!["rw".into(), "rbind".into()],
    }]
}

async fn layer(left: Vec<Mount>, right: Vec<Mount>, temporary: &Path, media_type: &str) -> Vec<u8> {
    layer_until(left, right, temporary, media_type, None).await
}

async fn layer_until(
    left: Vec<Mount>,
    right: Vec<Mount>,
    temporary: &Path,
    media_type: &str,
    latest: Option<SystemTime>,
) -> Vec<u8> {
    let (chunks, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(2);
    let making = Making {
        left,
        right,
        media_type: media_type.to_owned(),
        labels: Default::default(),
        latest,
        temporary: temporary.to_owned(),
        roots: Vec::new(),
    };
    let gather = async {
        let mut blob = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            blob.extend_from_slice(&chunk);
        }
        blob
    };
    let (made, blob) = tokio::join!(make(making, chunks), gather);
    assert_eq!(made.unwrap().size, blob.len() as u64);
    blob
}

/// A tree's lines as a layer says them: times are whole seconds.
fn in_seconds(lines: Vec<String>) -> Vec<String> {
    let whole = |line: String| line.rsplit_once('.').map_or(line.clone(), |(l, _)| l.to_owned());
    lines.into_iter().map(whole).collect()
}

/// Applies the difference to a copy of `left`, which then has to look like `right`.
async fn assert_difference(left: &[Mount], right: &[Mount], before: &Path, now: &[String]) {
    let dir = tempfile::tempdir().unwrap();
    let blob = layer(left.to_vec(), right.to_vec(), dir.path(), "").await;
    let copy = dir.path().join("copy");
    let (from, to) = (before.display(), copy.display());
    berth_testkit::run(&format!("cp -a {from} {to}")).unwrap();
    let limits = Limits::default();
    let target =
        Target { layer: "diff", root: &copy, whiteouts: Whiteouts::Merged, limits: &limits };
    apply(&*blob, &target).unwrap();
    assert_eq!(in_seconds(inside(&copy)), in_seconds(now.to_vec()));
}

fn set_time(path: &Path) {
    let stamp = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: stamp, last_modification: stamp };
    let at = rustix::fs::CWD;
    rustix::fs::utimensat(at, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Two trees that are equal in all but what `change` does to the second, all times set.
async fn difference_of(make: impl Fn(&Path), change: impl Fn(&Path)) {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    for root in [&a, &b] {
        fs::create_dir(root).unwrap();
        make(root);
    }
    change(&b);
    for root in [&a, &b] {
        for line in berth_testkit::run(&format!("find {} -depth", root.display())).unwrap().lines()
        {
            set_time(Path::new(line));
        }
    }
    assert_difference(&bind(&a), &bind(&b), &a, &inside(&b)).await;
}

#[tokio::test]
async fn a_change_that_keeps_size_and_time_is_found() {
    let make = |root: &Path| fs::write(root.join("f"), "before").unwrap();
    difference_of(make, |root| fs::write(root.join("f"), "after!").unwrap()).await;
}

#[tokio::test]
async fn a_new_name_of_an_unchanged_file_is_a_link() {
    let make = |root: &Path| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/f"), "content").unwrap();
        fs::write(root.join("m"), "content").unwrap();
        fs::hard_link(root.join("m"), root.join("z")).unwrap();
    };
    let change = |root: &Path| {
        fs::hard_link(root.join("a/b/f"), root.join("new")).unwrap();
        fs::hard_link(root.join("a/b/f"), root.join("a/before")).unwrap();
        fs::hard_link(root.join("m"), root.join("a/link-of-m")).unwrap();
    };
    difference_of(make, change).await;
}

#[tokio::test]
async fn names_that_came_apart_or_together_are_found() {
    let make = |root: &Path| {
        for name in ["one", "x", "y"] {
            fs::write(root.join(name), "content").unwrap();
        }
        fs::hard_link(root.join("one"), root.join("two")).unwrap();
    };
    let change = |root: &Path| {
        fs::remove_file(root.join("two")).unwrap();
        fs::write(root.join("two"), "content").unwrap();
        fs::remove_file(root.join("y")).unwrap();
        fs::hard_link(root.join("x"), root.join("y")).unwrap();
    };
    difference_of(make, change).await;
}

/// A list whose last mount is one that an activation makes shows that mount, not nothing.
#[tokio::test]
async fn an_image_of_a_file_system_is_compared_with_what_is_in_it() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [before, now] = ["before", "now"].map(|name| dir.path().join(name));
    for tree in [&before, &now] {
        fs::create_dir(tree).unwrap();
        fs::write(tree.join("kept"), "kept").unwrap();
        set_time(&tree.join("kept"));
        set_time(tree);
    }
    let image = dir.path().join("before.erofs");
    let (to, from) = (image.display(), before.display());
    berth_testkit::run(&format!("mkfs.erofs --quiet {to} {from}")).unwrap();
    fs::write(now.join("new"), "new").unwrap();
    let left = Mount {
        kind: "erofs".into(),
        source: image.display().to_string(),
        target: String::new(),
        options: vec!["ro".into(), "loop".into()],
    };
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let blob = layer(vec![left.clone()], bind(&now), dir.path(), tar).await;
    let names = |blob: &[u8]| entries(blob).into_iter().map(|e| e.0).collect::<Vec<_>>();
    let changed = names(&blob);
    assert!(changed.iter().any(|name| name.ends_with("new")), "{changed:?}");
    assert!(!changed.iter().any(|name| name.ends_with("kept")), "{changed:?}");
    let blob = layer(Vec::new(), vec![left], dir.path(), tar).await;
    assert!(names(&blob).iter().any(|name| name.ends_with("kept")), "{:?}", names(&blob));
}

#[tokio::test]
async fn an_overlays_upper_directory_says_the_same_as_both_trees() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["lower/d/e", "lower/op", "lower/gone", "upper", "work"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    for name in ["d/f", "d/same", "d/e/deep", "op/a", "gone/f", "gone-file", "touched", "linked"] {
        fs::write(at("lower").join(name), name).unwrap();
    }
    fs::hard_link(at("lower/linked"), at("lower/linked-too")).unwrap();
    symlink("d/f", at("lower/link")).unwrap();
    let shown = |name: &str| at(name).display().to_string();
    let options = [
        format!("workdir={}", shown("work")),
        format!("upperdir={}", shown("upper")),
        format!("lowerdir={}", shown("lower")),
    ];
    let overlay = vec![Mount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options: options.to_vec(),
    }];
    let now = {
        let mounted = berth_mount::TempMount::new(&overlay, dir.path(), "m").unwrap();
        let m = |name: &str| mounted.path().join(name);
        fs::write(m("d/f"), "changed").unwrap();
        fs::remove_dir_all(m("op")).unwrap();
        fs::create_dir(m("op")).unwrap();
        fs::write(m("op/new"), "n").unwrap();
        fs::remove_dir_all(m("gone")).unwrap();
        fs::remove_file(m("gone-file")).unwrap();
        fs::hard_link(m("d/e/deep"), m("another-name")).unwrap();
        fs::hard_link(m("linked"), m("third-name")).unwrap();
        fs::remove_file(m("link")).unwrap();
        symlink("elsewhere", m("link")).unwrap();
        fs::set_permissions(m("touched"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(m("d/same"), fs::metadata(m("d/same")).unwrap().permissions()).unwrap();
        inside(mounted.path())
    };
    let lower = at("lower");
    assert_difference(&bind(&lower), &overlay, &lower, &now).await;
    // Spelt otherwise it is not known to be what the overlay lies on: both trees are walked.
    let other = dir.path().join("./work/../lower");
    let mut left = bind(&lower);
    left[0].source = other.display().to_string();
    assert_difference(&left, &overlay, &lower, &now).await;
}

#[tokio::test]
async fn applying_a_difference_gives_the_other_tree() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    for root in [&a, &b] {
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::write(root.join("d/same"), "same").unwrap();
    }
    fs::write(a.join("gone"), "x").unwrap();
    fs::write(a.join("d/changed"), "old").unwrap();
    fs::create_dir(a.join("was-dir")).unwrap();
    fs::write(a.join("was-dir/f"), "x").unwrap();
    fs::write(b.join("d/changed"), "newer").unwrap();
    fs::write(b.join("was-dir"), "now a file").unwrap();
    fs::hard_link(b.join("d/changed"), b.join("second")).unwrap();
    symlink("d/changed", b.join("link")).unwrap();
    let long = format!("d/{}", "n".repeat(200));
    fs::write(b.join(long), "long").unwrap();
    for root in [&a, &b] {
        set_time(&root.join("d/same"));
        set_time(root);
    }
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let blob = layer(bind(&a), bind(&b), dir.path(), gzip).await;
    assert_eq!(blob, layer(bind(&a), bind(&b), dir.path(), "").await);
    let limits = Limits::default();
    let target = Target { layer: "diff", root: &a, whiteouts: Whiteouts::Merged, limits: &limits };
    apply(&*blob, &target).unwrap();
    assert_eq!(in_seconds(inside(&a)), in_seconds(inside(&b)));
    // From nothing, the whole tree.
    let c = dir.path().join("c");
    fs::create_dir(&c).unwrap();
    let whole = layer(vec![], bind(&b), dir.path(), "application/vnd.oci.image.layer.v1.tar").await;
    apply(&*whole, &Target { root: &c, ..target }).unwrap();
    assert_eq!(in_seconds(inside(&c)), in_seconds(inside(&b)));
}

/// Path, time and kind of each entry.
fn entries(tar: &[u8]) -> Vec<(String, u64, u8)> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        (path, entry.header().mtime().unwrap(), entry.header().entry_type().as_byte())
    });
    entries.collect()
}

#[tokio::test]
async fn equal_differences_are_equal_layers_and_no_later_than_asked() {
    if !is_root() {
        return;
    }
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for n in ["1", "2"] {
        for side in ["a", "b"] {
            fs::create_dir_all(at(&format!("{side}{n}/d"))).unwrap();
            let same = fs::File::create(at(&format!("{side}{n}/d/same"))).unwrap();
            // A file of another time is another file, whatever it holds.
            same.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        fs::write(at(&format!("a{n}/gone")), "x").unwrap();
        // In another order, and at another time: directories list them otherwise.
        let mut names = ["x", "y", "z", "d/new"];
        if n == "2" {
            names.reverse();
        }
        for name in names {
            fs::write(at(&format!("b{n}/{name}")), name).unwrap();
        }
    }
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_500);
    for media_type in [tar, "application/vnd.oci.image.layer.v1.tar+zstd", ""] {
        let mut made = Vec::new();
        for n in ["1", "2"] {
            let (a, b) = (bind(&at(&format!("a{n}"))), bind(&at(&format!("b{n}"))));
            made.push(layer_until(a, b, dir.path(), media_type, Some(then)).await);
        }
        assert!(made[0] == made[1], "{media_type}");
        if media_type == tar {
            let entries = entries(&made[0]);
            let times: Vec<_> = entries.iter().map(|(path, time, _)| (&**path, *time)).collect();
            let late = 1_000_000;
            let expected = |path: &str| if path == ".wh.gone" { 0 } else { late };
            assert!(times.iter().all(|(path, time)| *time == expected(path)), "{times:?}");
            let names = ["d/", "d/new", ".wh.gone", "x", "y", "z"];
            assert!(
                names.iter().all(|name| times.iter().any(|(path, _)| path == name)),
                "{times:?}"
            );
        }
    }
}

/// A directory that was renamed, and a file whose attributes alone were copied up, are in the
/// upper directory without what they have.
#[tokio::test]
async fn an_upper_directory_that_is_not_whole_is_not_taken_for_the_difference() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["lower/d/e", "upper", "work"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("lower/d/e/f"), "content").unwrap();
    fs::write(at("lower/owned"), "all of it").unwrap();
    let shown = |name: &str| at(name).display().to_string();
    let mut overlay = Mount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options: vec![
            format!("workdir={}", shown("work")),
            format!("upperdir={}", shown("upper")),
            format!("lowerdir={}", shown("lower")),
        ],
    };
    overlay.options.extend(["redirect_dir=on".to_owned(), "metacopy=on".to_owned()]);
    let now = {
        let mounted =
            berth_mount::TempMount::new(std::slice::from_ref(&overlay), dir.path(), "m").unwrap();
        let m = |name: &str| mounted.path().join(name);
        fs::rename(m("d"), m("renamed")).unwrap();
        fs::set_permissions(m("owned"), fs::Permissions::from_mode(0o600)).unwrap();
        inside(mounted.path())
    };
    let lower = at("lower");
    assert_difference(&bind(&lower), &[overlay], &lower, &now).await;
}
