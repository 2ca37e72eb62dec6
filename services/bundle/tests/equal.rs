//! The same layers look the same whoever extracts them: overlayfs, native, erofs, GNU tar. Needs root.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::fs;

use berth_bundle::snapshots::{EROFS, Kind, NATIVE, OVERLAYFS};
use berth_ids::Labels;
use support::{Node, Tar, caller, is_root, put, stage, tree};

/// cap_net_raw=ep, as the kernel keeps it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn base() -> Tar {
    let long = format!("keep/{}", "long-name-".repeat(20));
    Tar::default()
        .raw("./", b'5', "", b"", 0o751)
        .dir("keep/")
        .pax(&[("SCHILY.xattr.user.dir", b"a\nb"), ("mtime", b"1234567890.123456789")])
        .raw("keep/sub/", b'5', "", b"", 0o1777)
        .file("keep/sub/old", "old")
        .pax(&[("SCHILY.xattr.security.capability", CAPABILITY), ("uid", b"0"), ("gid", b"0")])
        .raw("keep/ping", b'0', "", b"binary", 0o755)
        .pax(&[("SCHILY.xattr.user.x", b"1"), ("mtime", b"-5.5")])
        .raw("keep/suid", b'0', "", b"x", 0o6755)
        .pax(&[("path", long.as_bytes())])
        .file("long", "long")
        .file("keep/first", "linked")
        .hard("keep/second", "keep/first")
        .symlink("keep/link", "../keep/first")
        .symlink("keep/dangling", "/nowhere")
        .raw("keep/null", b'3', "", b"", 0o666)
        .device("keep/disk", b'4', (7, 200))
        .raw("keep/fifo", b'6', "", b"", 0o622)
        .pax(&[("uid", b"3000000000"), ("gid", b"4000000000")])
        .raw("keep/far", b'0', "", b"", 0o400)
        .raw("closed/", b'5', "", b"", 0o000)
        .file("closed/inside", "i")
        .dir("op/")
        .file("op/a", "a")
        .dir("op/d/")
        .file("op/d/deep", "deep")
        .dir("gone/")
        .file("gone/f", "f")
        .file("gone-file", "x")
        .dir("becomes-file/")
        .file("becomes-file/f", "x")
        .file("becomes-dir", "x")
        .file("replaced", "old content")
        .dir("again/")
        .file("again/old", "x")
}

fn second() -> Tar {
    Tar::default()
        .file(".wh.gone", "")
        .file(".wh.gone-file", "")
        .file("keep/.wh.first", "")
        .file("keep/sub/new", "in a directory that this layer only implies")
        .dir("op/")
        .file("op/.wh..wh..opq", "")
        .file("op/b", "b")
        .file("becomes-file", "now a file")
        .dir("becomes-dir/")
        .file("becomes-dir/f", "x")
        .raw("replaced", b'0', "", b"new", 0o600)
        .hard("replaced-too", "replaced")
        .file(".wh.again", "")
        .raw("again/", b'5', "", b"", 0o700)
        .file("again/new", "n")
        .file("closed/.wh.inside", "")
}

fn third() -> Tar {
    // No entry of the directory itself, its attributes changed, a link where a file was.
    Tar::default()
        .file("op/.wh.b", "")
        .pax(&[("SCHILY.xattr.user.other", b"2")])
        .raw("keep/sub/", b'5', "", b"", 0o750)
        .symlink("replaced", "keep/second")
        .dir("gone/")
        .file("gone/back", "b")
        .file("becomes-dir/.wh.f", "")
        .file("becomes-dir/.wh.never-was", "")
}

async fn shown_by(name: &str, layers: &[Tar]) -> Vec<Vec<String>> {
    let node = Node::new();
    let s = node.open().await;
    let (mut parent, mut shown) = (String::new(), Vec::new());
    for (n, layer) in layers.iter().enumerate() {
        let (staging, done) = (format!("s{n}"), format!("l{n}"));
        stage(&s, name, &staging, &parent, layer.clone().end()).await.unwrap();
        put(&s, name, &staging, &done, &parent).await.unwrap();
        for kind in [Kind::View, Kind::Active] {
            let key = format!("{kind:?}{n}");
            let mounts = s.create(caller(), name, kind, &key, &done, Labels::new()).await.unwrap();
            shown.push(tree(node.mount(&mounts).path()));
        }
        parent = done;
    }
    shown
}

#[track_caller]
fn assert_same(a: &[String], b: &[String], what: &str) {
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|line| !b.contains(line)).cloned().collect()
    };
    assert!(a == b, "{what}:\nleft {:#?}\nright {:#?}", only(a, b), only(b, a));
}

#[tokio::test]
async fn layers_look_the_same_in_all_snapshotters() {
    if !is_root() {
        return;
    }
    let layers = [base(), second(), third()];
    let overlay = shown_by(OVERLAYFS, &layers).await;
    for name in [NATIVE, EROFS] {
        let other = shown_by(name, &layers).await;
        for (n, (overlay, other)) in overlay.iter().zip(&other).enumerate() {
            assert!(overlay.len() > 20);
            assert_same(overlay, other, &format!("overlayfs and {name}, after {n}"));
        }
    }
}

#[tokio::test]
async fn a_plain_layer_is_what_gnu_tar_extracts() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("layer.tar");
    let out = dir.path().join("out");
    fs::write(&archive, base().end()).unwrap();
    fs::create_dir(&out).unwrap();
    berth_testkit::program("tar")
        .args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"])
        .args([&archive])
        .args(["-C"])
        .args([&out])
        .output()
        .unwrap()
        .ok()
        .unwrap();
    let expected = tree(&out);
    for name in [OVERLAYFS, NATIVE, EROFS] {
        for shown in shown_by(name, &[base()]).await {
            assert_same(&shown, &expected, &format!("{name} and GNU tar"));
        }
    }
}
