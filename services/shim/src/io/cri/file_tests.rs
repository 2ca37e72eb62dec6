//! Tests of a log's file: who moves it, and what does not let itself be written.

use super::*;

const NEVER: Rotation = Rotation { max_size: 0, max_files: 5 };

/// A file system that goes away with the test.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_file_at_the_path_is_the_one_that_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("sub/x.log"), dir.path().join("x.old"));
    let mut log = LogFile::open(&path, NEVER).unwrap();
    log.append(b"1\n").unwrap();
    std::fs::rename(&path, &moved).unwrap();
    log.append(b"2\n").unwrap();
    assert_eq!((text(&moved).as_str(), text(&path).as_str()), ("1\n", "2\n"));
    let mode = path.metadata().unwrap().mode() & 0o777;
    assert_eq!((mode, path.parent().unwrap().metadata().unwrap().mode() & 0o777), (0o640, 0o755));
    // One that somebody else made there.
    std::fs::rename(&path, &moved).unwrap();
    std::fs::write(&path, "new\n").unwrap();
    log.append(b"3\n").unwrap();
    assert_eq!((text(&moved).as_str(), text(&path).as_str()), ("2\n", "new\n3\n"));
    assert_eq!(log.size, 6);
    // And one whose folder is gone with it.
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    log.append(b"4\n").unwrap();
    assert_eq!(text(&path), "4\n");
}

/// A file in the place of its folder: not even root can open it.
#[test]
fn without_a_new_file_the_earlier_one_goes_on_unless_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, moved) = (dir.path().join("sub"), dir.path().join("x.old"));
    let path = folder.join("x.log");
    let mut log = LogFile::open(&path, NEVER).unwrap();
    log.append(b"1\n").unwrap();
    std::fs::rename(&path, &moved).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "").unwrap();
    log.append(b"2\n").unwrap();
    assert!(log.stuck);
    assert_eq!(text(&moved), "1\n2\n");
    std::fs::remove_file(&moved).unwrap();
    let lost = log.append(b"3\n").unwrap_err();
    assert_eq!((lost.kept, lost.error.kind()), (0, io::ErrorKind::NotADirectory));
    std::fs::remove_file(&folder).unwrap();
    log.append(b"4\n").unwrap();
    assert!(!log.stuck);
    assert_eq!(text(&path), "4\n");
}

#[test]
fn a_pipe_at_the_path_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    let mut log = LogFile::open(&path, NEVER).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(log.append(b"1\n").is_err());
    std::fs::remove_file(&path).unwrap();
    log.append(b"2\n").unwrap();
    assert_eq!(text(&path), "2\n");
}

/// A file system of 64 KiB that is full takes a part of what it is given.
#[test]
fn on_a_full_disk_only_whole_records_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let size = c"size=64k";
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &mount, "tmpfs", flags, Some(size)).unwrap();
    let _mounted = Mounted(mount.clone());
    let path = mount.join("x.log");
    let mut log = LogFile::open(&path, NEVER).unwrap();
    let records = b"a record of its own\n".repeat(10_000);
    let lost = log.append(&records).unwrap_err();
    assert_eq!(lost.error.kind(), io::ErrorKind::StorageFull);
    assert!(lost.kept > 0 && lost.kept.is_multiple_of(20), "{}", lost.kept);
    let kept = std::fs::read(&path).unwrap();
    assert_eq!((kept.len(), log.size), (lost.kept, lost.kept as u64));
    assert_eq!(kept, records[..lost.kept]);
    // Room again, by a rotation.
    std::fs::remove_file(&path).unwrap();
    log.append(b"next\n").unwrap();
    assert_eq!(text(&path), "next\n");
}

/// What could not be renamed is not renamed again and again.
#[test]
fn a_rotation_that_fails_pushes_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    let mut log = LogFile::open(&path, Rotation { max_size: 4, max_files: 3 }).unwrap();
    log.append(b"1\n2\n").unwrap();
    log.rotate(2);
    log.append(b"3\n4\n").unwrap();
    // The next one is renamed, and nothing can be made in its place.
    std::fs::create_dir(dir.path().join("x.log.2")).unwrap();
    for _ in 0..5 {
        log.rotate(2);
    }
    log.append(b"5\n").unwrap();
    assert_eq!(text(&dir.path().join("x.log.1")), "1\n2\n");
    assert_eq!(text(&path), "3\n4\n5\n");
    std::fs::remove_dir(dir.path().join("x.log.2")).unwrap();
    log.rotate(2);
    assert_eq!(text(&dir.path().join("x.log.2")), "1\n2\n");
    assert_eq!(text(&dir.path().join("x.log.1")), "3\n4\n5\n");
    assert!(log.is_empty());
}
