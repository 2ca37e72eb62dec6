//! On the file system of temporary files. That the disk has it no test can tell.

use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_has_its_bytes_and_mode_and_nothing_is_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/b");
    let path = folder.join("status");
    for (text, permissions) in [("first", 0o600), ("", 0o400)] {
        replace(&path, text.as_bytes(), permissions).unwrap();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
        assert_eq!(mode(&path), permissions);
        assert_eq!(names(&folder), ["status"]);
    }
}

#[test]
fn a_file_that_is_there_is_replaced_and_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status");
    replace(&path, b"what was there", 0o600).unwrap();
    let mut before = fs_err::File::open(&path).unwrap();
    replace(&path, b"new", 0o600).unwrap();
    let mut text = String::new();
    before.read_to_string(&mut text).unwrap();
    assert_eq!(text, "what was there");
    assert_eq!(fs_err::read(&path).unwrap(), b"new");
}

#[test]
fn an_unfinished_file_of_before_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (path, unfinished) = (dir.path().join("status"), dir.path().join("status.new"));
    fs_err::write(&unfinished, "longer than what is written").unwrap();
    replace(&path, b"new", 0o600).unwrap();
    assert_eq!(fs_err::read(&path).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["status"]);
}

#[test]
fn a_failed_write_leaves_the_file_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status");
    replace(&path, b"before", 0o600).unwrap();
    // As a disk that is full.
    symlink("/dev/full", dir.path().join("status.new")).unwrap();
    let error = replace(&path, b"new", 0o600).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains("status.new"), "{error}");
    assert_eq!(fs_err::read(&path).unwrap(), b"before");
    assert_eq!(names(dir.path()), ["status"]);
}

#[test]
fn what_cannot_be_named_is_not_left_either() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("taken");
    fs_err::create_dir(&path).unwrap();
    let error = replace(&path, b"new", 0o600).unwrap_err();
    assert!(error.to_string().contains("taken.new"), "{error}");
    assert_eq!(names(dir.path()), ["taken"]);
    assert!(path.is_dir());
}

#[test]
fn the_unfinished_file_may_be_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (new, records) = (dir.path().join("new"), dir.path().join("records"));
    make_folder(&new, 0o700).unwrap();
    make_folder(&records, 0o700).unwrap();
    // The longest name that there is leaves no room for an end.
    let path = records.join("n".repeat(255));
    replace_through(&new.join("n"), &path, b"text", 0o600).unwrap();
    assert_eq!(fs_err::read(&path).unwrap(), b"text");
    assert!(names(&new).is_empty());
    assert_eq!(names(&records), ["n".repeat(255)]);
    let missing = dir.path().join("nowhere/record");
    let error = replace_through(&new.join("n"), &missing, b"text", 0o600).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(names(&new).is_empty());
}

#[test]
fn a_folder_is_made_once_with_those_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/b/c");
    make_folder(&folder, 0o700).unwrap();
    assert_eq!(mode(&folder), 0o700);
    replace(&folder.join("x"), b"", 0o600).unwrap();
    make_folder(&folder, 0o711).unwrap();
    assert_eq!((mode(&folder), names(&folder)), (0o700, vec!["x".to_owned()]));
    let below = folder.join("x/y");
    let error = make_folder(&below, 0o700).unwrap_err();
    assert!(error.to_string().contains("c/x"), "{error}");
}
