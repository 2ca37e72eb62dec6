//! Layers made from directories and applied again. Needs root: it mounts.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use berth_bundle::diff::{Making, make};
use berth_bundle::layer::{Limits, Target, Whiteouts, apply};
use berth_mount::Mount;

fn bind(path: &Path) -> Vec<Mount> {
    vec![Mount {
        kind: "bind".into(),
        source: path.display().to_string(),
        target: String::new(),
        options: vec!["rw".into(), "rbind".into()],
    }]
}

async fn layer(left: Vec<Mount>, right: Vec<Mount>, temporary: &Path, media_type: &str) -> Vec<u8> {
    let (chunks, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(2);
    let making = Making {
        left,
        right,
        media_type: media_type.to_owned(),
        labels: Default::default(),
        latest: None,
        temporary: temporary.to_owned(),
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

/// Everything about a tree that a layer can say.
fn list(root: &Path, at: &Path, out: &mut Vec<String>) {
    use std::os::unix::fs::MetadataExt;
    let mut paths: Vec<_> = fs::read_dir(at).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let m = fs::symlink_metadata(&path).unwrap();
        let content = if m.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let link = fs::read_link(&path).unwrap_or_default();
        let links = if m.is_dir() { 0 } else { m.nlink() };
        out.push(format!(
            "{:?} {:o} {}:{} {}.{} {links} {} {link:?} {content:?}",
            path.strip_prefix(root).unwrap(),
            m.mode(),
            m.uid(),
            m.gid(),
            m.mtime(),
            m.mtime_nsec(),
            m.rdev(),
        ));
        if m.is_dir() {
            list(root, &path, out);
        }
    }
}

fn tree(root: &Path) -> Vec<String> {
    let mut out = Vec::new();
    list(root, root, &mut out);
    out
}

#[tokio::test]
async fn applying_a_difference_gives_the_other_tree() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: mounting needs root");
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
    let stamp = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 5 };
    let times = rustix::fs::Timestamps { last_access: stamp, last_modification: stamp };
    for root in [&a, &b] {
        rustix::fs::utimensat(
            rustix::fs::CWD,
            root.join("d/same"),
            &times,
            rustix::fs::AtFlags::empty(),
        )
        .unwrap();
    }
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let blob = layer(bind(&a), bind(&b), dir.path(), gzip).await;
    assert_eq!(blob, layer(bind(&a), bind(&b), dir.path(), "").await);
    let limits = Limits::default();
    let target = Target { layer: "diff", root: &a, whiteouts: Whiteouts::Merged, limits: &limits };
    apply(&*blob, &target).unwrap();
    assert_eq!(tree(&a), tree(&b));
    // From nothing, the whole tree.
    let c = dir.path().join("c");
    fs::create_dir(&c).unwrap();
    let whole = layer(vec![], bind(&b), dir.path(), "application/vnd.oci.image.layer.v1.tar").await;
    apply(&*whole, &Target { root: &c, ..target }).unwrap();
    assert_eq!(tree(&c), tree(&b));
}
