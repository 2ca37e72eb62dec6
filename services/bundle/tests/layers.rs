//! Layers applied to real directories. Needs root: owners, devices and whiteouts are real.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use berth_bundle::Error;
use berth_bundle::layer::{Applied, Limits, Target, Whiteouts, apply, implied};
use berth_errors::{Code, Coded};
use support::{Tar, is_root};

const OVERLAY: Whiteouts = Whiteouts::Overlay { userxattr: false };

fn apply_to(root: &Path, archive: &[u8], whiteouts: Whiteouts) -> Result<Applied, Error> {
    let limits = Limits { entries: 100, bytes: 1 << 20, devices: 3, ..Limits::default() };
    apply(archive, &Target { layer: "sha256:test", root, whiteouts, limits: &limits })
}

#[test]
fn every_kind_of_entry_arrives_with_its_attributes() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let archive = Tar::default()
        .raw("./", b'5', "", b"", 0o711)
        .raw("d/", b'5', "", b"", 0o500)
        .file("d/f", "hello")
        .raw("d/suid", b'0', "", b"x", 0o4755)
        .symlink("d/link", "/d/f")
        .hard("hard", "d/f")
        .raw("null", b'3', "", b"", 0o666)
        .raw("fifo", b'6', "", b"", 0o600)
        .end();
    let applied = apply_to(dir.path(), &archive, OVERLAY).unwrap();
    assert_eq!((applied.entries, applied.size), (8, archive.len() as u64));
    assert!(applied.implied.is_empty());
    let meta = |path: &str| fs::symlink_metadata(dir.path().join(path)).unwrap();
    let f = meta("d/f");
    assert_eq!((f.uid(), f.gid(), f.mode() & 0o7777, f.mtime()), (1000, 1001, 0o644, 1_000_000));
    assert_eq!(f.nlink(), 2);
    assert_eq!(meta("d/suid").mode() & 0o7777, 0o4755);
    assert_eq!((meta("d").mode() & 0o7777, meta("d").mtime()), (0o500, 1_000_000));
    assert_eq!((meta("d/link").uid(), meta("d/link").mtime()), (1000, 1_000_000));
    assert!(meta("null").file_type().is_char_device());
    assert_eq!((meta("null").rdev(), meta("null").mode() & 0o777), (259, 0o666));
    assert!(meta("fifo").file_type().is_fifo());
    assert_eq!(meta("").mode() & 0o7777, 0o711);
    assert_eq!(fs::read_link(dir.path().join("d/link")).unwrap(), Path::new("/d/f"));
}

#[test]
fn the_digest_is_of_all_uncompressed_bytes_however_they_are_compressed() {
    use std::io::Write;
    let mut archive = Tar::default().file("f", "hello").end();
    archive.extend_from_slice(b"what follows the end counts too");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &archive);
    let digest = berth_ids::Digest::of_hash(berth_ids::Algorithm::Sha256, digest.as_ref()).unwrap();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let members = [gzip(&archive[..700]), gzip(&archive[700..])].concat();
    let zstd = zstd::encode_all(&*archive, 1).unwrap();
    for blob in [archive.clone(), members, zstd] {
        let dir = tempfile::tempdir().unwrap();
        let applied = apply_to(dir.path(), &blob, Whiteouts::Merged).unwrap();
        assert_eq!(applied.diff_id, digest);
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"hello");
    }
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing_outside() {
    let t = Tar::default;
    let deep = "d/".repeat(40);
    let table: Vec<(&str, Vec<u8>, Code)> = vec![
        ("leads out of the layer", t().file("../escape", "x").end(), Code::InvalidArgument),
        ("leads out of the layer", t().file("a/../../escape", "x").end(), Code::InvalidArgument),
        ("target is outside", t().hard("h", "../../escape").end(), Code::InvalidArgument),
        ("target is not there", t().hard("h", "/etc/hostname").end(), Code::InvalidArgument),
        ("whiteout names nothing", t().file(".wh...", "").end(), Code::InvalidArgument),
        ("whiteout names nothing", t().file(".wh.", "").end(), Code::InvalidArgument),
        ("root is replaced", t().symlink("./", "/etc").end(), Code::InvalidArgument),
        ("is no directory", t().file("f", "x").file("f/g", "y").end(), Code::InvalidArgument),
        (
            "loop of symbolic links",
            t().symlink("a", "b").symlink("b", "a").file("a/f", "x").end(),
            Code::InvalidArgument,
        ),
        (
            "more than 3 devices",
            (0..4).fold(t(), |t, n| t.raw(&format!("d{n}"), b'4', "", b"", 0)).end(),
            Code::ResourceExhausted,
        ),
        (
            "more than 100 entries",
            (0..101).fold(t(), |t, n| t.dir(&format!("d{n}"))).end(),
            Code::ResourceExhausted,
        ),
        ("more than 1048576", t().file("f", &"x".repeat(2 << 20)).end(), Code::ResourceExhausted),
        ("cut off", t().file("f", &deep).0[..520].to_vec(), Code::InvalidArgument),
        (
            "no tar header",
            b"this is not an archive at all, but text".repeat(20),
            Code::InvalidArgument,
        ),
    ];
    for (reason, archive, code) in table {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("deep/root");
        fs::create_dir_all(&root).unwrap();
        for whiteouts in [OVERLAY, Whiteouts::Merged] {
            let error = apply_to(&root, &archive, whiteouts).unwrap_err();
            let message = berth_errors::chain(&error);
            assert!(message.contains(reason), "{reason}: {message}");
            assert!(message.starts_with("layer sha256:test: "), "{message}");
            assert_eq!(error.code(), code, "{message}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{reason}");
            assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 1, "{reason}");
        }
    }
}

#[test]
fn links_that_lead_out_are_followed_only_inside() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "s").unwrap();
    symlink(&outside, root.join("planted")).unwrap();
    let target = outside.to_str().unwrap();
    let archive = Tar::default()
        .file("planted/.wh.secret", "")
        .file("planted/.wh..wh..opq", "")
        .symlink("abs", target)
        .file("abs/f", "x")
        .symlink("up", "../../../..")
        .file("up/g", "y")
        .file("/absolute", "z")
        .end();
    apply_to(&root, &archive, Whiteouts::Merged).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert!(outside.join("secret").exists());
    assert!(root.join("g").exists() && root.join("absolute").exists());
    assert!(!root.join("abs").join("f").exists());
    assert!(root.join(target.trim_start_matches('/')).join("f").exists());
    // A hard link to a file outside, through the link.
    let hard = Tar::default().hard("h", "planted/secret").end();
    assert!(apply_to(&root, &hard, Whiteouts::Merged).is_err());
}

#[test]
fn whiteouts_take_the_form_of_their_target() {
    if !is_root() {
        return;
    }
    let archive = Tar::default()
        .file(".wh.gone", "")
        .dir("opaque/")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "n")
        .hard(".wh.linked", ".wh.gone")
        .file(".wh.again", "")
        .dir("again/")
        .file("again/f", "x")
        .dir("mine/")
        .file("mine/kept", "k")
        .file(".wh.mine", "")
        .file(".wh..wh.plnk", "")
        .end();
    let dir = tempfile::tempdir().unwrap();
    apply_to(dir.path(), &archive, OVERLAY).unwrap();
    let rdev = |name: &str| {
        let meta = fs::symlink_metadata(dir.path().join(name)).unwrap();
        (meta.file_type().is_char_device(), meta.rdev())
    };
    assert_eq!(rdev("gone"), (true, 0));
    assert_eq!(rdev("linked"), (true, 0));
    for name in ["opaque", "again", "mine"] {
        let mut value = [0; 8];
        let path = dir.path().join(name);
        let length = rustix::fs::getxattr(&path, "trusted.overlay.opaque", &mut value).unwrap();
        assert_eq!(&value[..length], b"y", "{name}");
    }
    assert!(dir.path().join("mine/kept").exists());
    assert!(!dir.path().join(".wh..wh.plnk").exists());

    let merged = tempfile::tempdir().unwrap();
    for name in ["gone", "linked", "opaque/old", "again/old", "mine/old", "stays"] {
        let path = merged.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "old").unwrap();
    }
    apply_to(merged.path(), &archive, Whiteouts::Merged).unwrap();
    for gone in ["gone", "linked", "opaque/old", "again/old", "mine/old"] {
        assert!(!merged.path().join(gone).exists(), "{gone}");
    }
    for kept in ["stays", "opaque/new", "again/f", "mine/kept"] {
        assert!(merged.path().join(kept).exists(), "{kept}");
    }
}

#[test]
fn whiteouts_follow_links_inside_the_root() {
    if !is_root() {
        return;
    }
    // Links of this layer and of one below, relative, absolute, and out of the root if it were
    // not one.
    let archive = Tar::default()
        .dir("mine/")
        .file("mine/new", "n")
        .symlink("link", "mine")
        .file("link/.wh.old", "")
        .file("link/.wh.new", "")
        .file("lower/.wh.older", "")
        .file("deep/lower/.wh.oldest", "")
        .symlink("all", "../../cleared")
        .file("all/.wh..wh..opq", "")
        .file("all/stays", "s")
        .end();
    let outer = tempfile::tempdir().unwrap();
    let outside = outer.path().join("cleared");
    let root = outer.path().join("root");
    for directory in [&outside, &root.join("mine"), &root.join("deep"), &root.join("cleared")] {
        fs::create_dir_all(directory).unwrap();
    }
    for file in ["mine/old", "mine/older", "mine/oldest", "cleared/a"] {
        fs::write(root.join(file), "o").unwrap();
    }
    fs::write(outside.join("a"), "not of this root").unwrap();
    symlink("/mine", root.join("lower")).unwrap();
    symlink("../mine", root.join("deep/lower")).unwrap();
    apply_to(&root, &archive, Whiteouts::Merged).unwrap();
    for gone in ["mine/old", "mine/older", "mine/oldest", "cleared/a"] {
        assert!(!root.join(gone).exists(), "{gone}");
    }
    for kept in ["mine/new", "cleared/stays", "lower", "deep/lower", "../cleared/a"] {
        assert!(fs::symlink_metadata(root.join(kept)).is_ok(), "{kept}");
    }
    let upper = tempfile::tempdir().unwrap();
    apply_to(upper.path(), &archive, OVERLAY).unwrap();
    let kind = |path: &str| fs::symlink_metadata(upper.path().join(path)).unwrap().file_type();
    assert!(kind("mine/old").is_char_device() && kind("mine/new").is_file());
    // What it does not see it cannot follow.
    assert!(kind("lower").is_dir() && kind("lower/older").is_char_device());
    let mut value = [0; 8];
    let opaque =
        rustix::fs::getxattr(upper.path().join("cleared"), "trusted.overlay.opaque", &mut value);
    assert_eq!(opaque, Ok(1));
}

#[test]
fn implied_directories_look_as_below() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [top, middle, bottom] = ["top", "middle", "bottom"].map(|n| dir.path().join(n));
    for path in [&top, &middle, &bottom] {
        fs::create_dir(path).unwrap();
    }
    fs::create_dir_all(bottom.join("usr/lib")).unwrap();
    fs::set_permissions(bottom.join("usr/lib"), fs::Permissions::from_mode(0o1750)).unwrap();
    rustix::fs::setxattr(bottom.join("usr"), "user.k", b"v", rustix::fs::XattrFlags::empty())
        .unwrap();
    fs::create_dir(middle.join("hidden")).unwrap();
    fs::set_permissions(middle.join("hidden"), fs::Permissions::from_mode(0o700)).unwrap();
    let applied =
        apply_to(&top, &Tar::default().file("usr/lib/x", "").file("hidden/y", "").end(), OVERLAY)
            .unwrap();
    assert_eq!(applied.implied, [&b""[..], b"hidden", b"usr", b"usr/lib"]);
    implied::adopt(&top, &applied.implied, &[middle, bottom]).unwrap();
    let mode = |path: &str| fs::metadata(top.join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("usr/lib"), mode("hidden")), (0o1750, 0o700));
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(top.join("usr"), "user.k", &mut value), Ok(1));
}

#[test]
fn later_entries_replace_earlier_ones_of_any_kind() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Tar::default()
        .file("a", "1")
        .dir("a/")
        .file("a/b", "2")
        .file("a", "3")
        .symlink("l", "a")
        .file("l", "4")
        .hard("h", "l")
        .hard("h", "l")
        .end();
    apply_to(dir.path(), &archive, Whiteouts::Merged).unwrap();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"3");
    assert_eq!(fs::read(dir.path().join("h")).unwrap(), b"4");
}
