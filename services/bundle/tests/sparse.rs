//! Sparse files keep their content, their size and their holes. Needs root, and GNU tar.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use berth_bundle::layer::{Limits, Target, Whiteouts, apply};
use berth_testkit::program;
use support::{Tar, is_root};

const SIZE: u64 = 1 << 20;

/// What the files here may take at the most: each has a few blocks of data.
const SMALL: u64 = 128 << 10;

/// Data at the start and in the middle, a hole between and one at the end.
const PARTS: [(u64, &[u8]); 2] = [(0, &[b'a'; 4096]), (SIZE / 2, &[b'b'; 4096])];

fn extract(archive: &[u8], root: &Path) {
    let limits = Limits::default();
    let whiteouts = Whiteouts::Overlay { userxattr: false };
    apply(archive, &Target { layer: "sha256:test", root, whiteouts, limits: &limits }).unwrap();
}

#[track_caller]
fn assert_sparse(file: &Path, content: &[u8], form: &str) {
    let meta = fs::metadata(file).unwrap();
    assert_eq!(meta.len(), content.len() as u64, "{form}");
    assert!(meta.blocks() * 512 < SMALL, "{form}: {} blocks", meta.blocks());
    assert!(fs::read(file).unwrap() == content, "{form}: the content differs");
}

/// The header of an old GNU sparse file with two parts.
fn old_header(name: &str, data: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    let octal = |field: &mut [u8; 12], number: u64| {
        field[..11].copy_from_slice(format!("{number:011o}").as_bytes());
    };
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..name.len()].copy_from_slice(name.as_bytes());
    octal(&mut gnu.realsize, SIZE);
    for (part, (offset, bytes)) in gnu.sparse.iter_mut().zip(PARTS) {
        octal(&mut part.offset, offset);
        octal(&mut part.numbytes, bytes.len() as u64);
    }
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_size(data);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_cksum();
    header
}

/// The same file in each form, named by its form, and an ordinary file after it.
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    let size = SIZE.to_string();
    let size = size.as_bytes();
    let middle = (SIZE / 2).to_string();
    let data = PARTS.map(|(_, bytes)| bytes).concat();
    let records = Tar::default().pax(&[
        ("GNU.sparse.size", size),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"4096"),
        ("GNU.sparse.offset", middle.as_bytes()),
        ("GNU.sparse.numbytes", b"4096"),
    ]);
    let map = format!("0,4096,{middle},4096");
    let list = Tar::default().pax(&[
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.size", size),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.map", map.as_bytes()),
    ]);
    let in_data = Tar::default().pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", size),
    ]);
    let mut map = format!("2\n0\n4096\n{middle}\n4096\n").into_bytes();
    map.resize(512, 0);
    let old = [old_header("sparse", data.len() as u64).as_bytes(), &*data].concat();
    let plain = |tar: Tar, name: &str, data: &[u8]| tar.raw(name, b'0', "", data, 0o644);
    let archives = [
        ("PAX 0.0", plain(records, "sparse", &data)),
        ("PAX 0.1", plain(list, "GNUSparseFile.7/sparse", &data)),
        ("PAX 1.0", plain(in_data, "GNUSparseFile.7/sparse", &[map, data.clone()].concat())),
        ("old GNU", Tar(old)),
    ];
    archives.map(|(form, tar)| (form, tar.file("after", "plain").end())).to_vec()
}

#[test]
fn each_form_is_extracted_with_its_holes() {
    if !is_root() {
        return;
    }
    let mut content = vec![0; usize::try_from(SIZE).unwrap()];
    for (offset, bytes) in PARTS {
        let at = usize::try_from(offset).unwrap();
        content[at..at + bytes.len()].copy_from_slice(bytes);
    }
    for (form, archive) in forms() {
        let dir = tempfile::tempdir().unwrap();
        extract(&archive, dir.path());
        assert_sparse(&dir.path().join("sparse"), &content, form);
        assert_eq!(fs::read(dir.path().join("after")).unwrap(), b"plain", "{form}");
        assert!(!dir.path().join("GNUSparseFile.7").exists(), "{form}");
    }
}

/// More parts than a header has room for, and none at the start.
#[test]
fn what_gnu_tar_packs_is_extracted_as_it_was() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("sparse");
    let file = fs::File::create(&source).unwrap();
    for part in 1..=8_u64 {
        let byte = u8::try_from(part).unwrap();
        file.write_all_at(&[byte; 5000], part * 3 * 65536).unwrap();
    }
    file.set_len(4 << 20).unwrap();
    let content = fs::read(&source).unwrap();
    assert_sparse(&source, &content, "the file itself");
    let posix = |version| vec!["--format=posix", version];
    for form in [
        vec!["--format=gnu"],
        posix("--sparse-version=0.0"),
        posix("--sparse-version=0.1"),
        posix("--sparse-version=1.0"),
    ] {
        let (archive, root) = (dir.path().join("a.tar"), tempfile::tempdir().unwrap());
        program("tar")
            .args(["--sparse", "-C"])
            .args([dir.path()])
            .args(&form)
            .args(["-cf"])
            .args([&archive])
            .args(["sparse"])
            .output()
            .unwrap()
            .ok()
            .unwrap();
        let archive = fs::read(archive).unwrap();
        assert!((archive.len() as u64) < SMALL, "{form:?}: tar has packed the holes");
        extract(&archive, root.path());
        assert_sparse(&root.path().join("sparse"), &content, &format!("{form:?}"));
    }
}
