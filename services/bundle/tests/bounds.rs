//! Layers that ask for too much, and disks that have too little. Needs root.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::fs;
use std::io::Write;

use berth_bundle::Error;
use berth_bundle::layer::{Limits, Target, Whiteouts, apply};
use berth_bundle::snapshots::{NATIVE, OVERLAYFS};
use berth_errors::{Code, Coded};
use berth_mount::{Mount, mount_all, unmount_all};
use support::{Node, Tar, commit, directories, is_root, prepare, put, stage};

fn refused(archive: &[u8], limits: &Limits) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let whiteouts = Whiteouts::Merged;
    let target = Target { layer: "sha256:big", root: dir.path(), whiteouts, limits };
    let error = apply(archive, &target).unwrap_err();
    let message = berth_errors::chain(&error);
    assert!(message.starts_with("layer sha256:big: "), "{message}");
    error
}

#[track_caller]
fn assert_refused(archive: &[u8], limits: &Limits, code: Code, reason: &str) {
    let error = refused(archive, limits);
    let message = berth_errors::chain(&error);
    assert!(message.contains(reason), "{message}");
    assert_eq!(error.code(), code, "{message}");
}

#[test]
fn what_inflates_without_end_is_stopped() {
    // Behind the archive's end, where no entry is counted.
    let mut archive = Tar::default().file("f", "x").end();
    archive.resize(64 << 20, 0);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&archive).unwrap();
    let blob = gzip.finish().unwrap();
    assert!(blob.len() < 100_000);
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    assert_refused(&blob, &limits, Code::ResourceExhausted, "more than 1048576 uncompressed bytes");
    let zstd = zstd::encode_all(&*archive, 3).unwrap();
    assert_refused(&zstd, &limits, Code::ResourceExhausted, "more than 1048576 uncompressed bytes");
}

#[test]
fn a_file_of_holes_counts_as_what_it_seems() {
    let records: [(&str, &[u8]); 3] = [
        ("GNU.sparse.size", b"1000000000000"),
        ("GNU.sparse.numblocks", b"0"),
        ("GNU.sparse.map", b""),
    ];
    let archive = Tar::default().pax(&records).file("f", "").end();
    let limits = Limits { bytes: 1 << 30, ..Limits::default() };
    assert_refused(&archive, &limits, Code::ResourceExhausted, "bytes of files");
}

#[test]
fn memory_for_directories_is_bounded() {
    let value = vec![b'v'; 60_000];
    let mut archive = Tar::default();
    for n in 0..40 {
        archive = archive.pax(&[("SCHILY.xattr.user.big", &value)]).dir(&format!("d{n}/"));
    }
    let limits = Limits { memory: 1 << 20, ..Limits::default() };
    let reason = "bytes of memory for names and attributes";
    assert_refused(&archive.end(), &limits, Code::ResourceExhausted, reason);
    let names = (0..20_000).fold(Tar::default(), |t, n| t.file(&format!("f{n}"), "")).end();
    let limits = Limits { memory: 100_000, ..Limits::default() };
    assert_refused(&names, &limits, Code::ResourceExhausted, reason);
}

#[test]
fn extension_headers_are_bounded_in_size_number_and_work() {
    let limits = Limits::default();
    let huge = Tar::default().raw("pax", b'x', "", &vec![b' '; 5 << 20], 0).file("f", "").end();
    assert_refused(&huge, &limits, Code::ResourceExhausted, "larger than allowed");
    let chain = (0..100).fold(Tar::default(), |t, _| t.pax(&[("comment", b"x")]));
    assert_refused(&chain.file("f", "").end(), &limits, Code::InvalidArgument, "too many headers");
    let keys: Vec<String> = (0..150_000).map(|n| format!("SCHILY.xattr.u{n}")).collect();
    let records: Vec<(&str, &[u8])> = keys.iter().map(|key| (&**key, &b"v"[..])).collect();
    let many = Tar::default().pax(&records).file("f", "").end();
    assert_refused(&many, &limits, Code::InvalidArgument, "more than 1024 attributes");
    // A sparse map of megabytes, which says that it is longer than it is.
    let mut map = b"500000\n".to_vec();
    map.resize(3 << 20, b'1');
    let records: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.size", b"1")];
    let sparse = Tar::default().pax(&records).raw("f", b'0', "", &map, 0o644).end();
    assert_refused(&sparse, &limits, Code::InvalidArgument, "sparse file's map");
}

#[test]
fn links_do_not_make_paths_longer_than_allowed() {
    let limits = Limits { depth: 20, ..Limits::default() };
    let deep = "d/".repeat(15);
    let archive =
        Tar::default().dir(&deep).symlink("s", &deep).file(&format!("s/{deep}f"), "x").end();
    assert_refused(&archive, &limits, Code::ResourceExhausted, "directories on a path");
}

/// A small file system in memory, unmounted on drop.
struct Small(std::path::PathBuf);

impl Small {
    fn new(node: &Node, size: &str) -> Self {
        let path = node.dir.path().join("small");
        fs::create_dir(&path).unwrap();
        let tmpfs = Mount {
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
            target: String::new(),
            options: vec![format!("size={size}")],
        };
        mount_all(&[tmpfs], &path).unwrap();
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        unmount_all(&self.0).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing_behind() {
    if !is_root() {
        return;
    }
    for name in [OVERLAYFS, NATIVE] {
        let node = Node::new();
        let small = Small::new(&node, "4m");
        let s = node.open_at(&small.0).await;
        let big = || Tar::default().raw("f", b'0', "", &vec![b'x'; 6 << 20], 0o644).end();
        let error = stage(&s, name, "full", "", big()).await.unwrap_err();
        let message = berth_errors::chain(&error);
        assert_eq!(error.code(), Code::ResourceExhausted, "{message}");
        for part in ["layer sha256:full", "\"f\"", "write the file", "No space left"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(directories(&small.0, name, "staging"), 0);
        s.cleanup(name).await.unwrap();
        // What was taken is free again, and the name too.
        let fits = Tar::default().raw("f", b'0', "", &vec![b'x'; 3 << 20], 0o644).end();
        stage(&s, name, "full", "", fits).await.unwrap();
        put(&s, name, "full", "layer", "").await.unwrap();
        if name == NATIVE {
            let error = prepare(&s, name, "copy", "layer").await.unwrap_err();
            assert_eq!(error.code(), Code::ResourceExhausted, "{}", berth_errors::chain(&error));
            s.cleanup(name).await.unwrap();
            assert_eq!(directories(&small.0, name, "snapshots"), 1);
            prepare(&s, name, "copy", "").await.unwrap();
            commit(&s, name, "done", "copy").await.unwrap();
        }
        drop(s);
        node.store().close().await;
    }
}
