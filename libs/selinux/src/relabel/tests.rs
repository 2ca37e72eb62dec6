//! Trees with hostile things in them. Whoever may mount may set the attribute, also where SELinux is off.

use std::os::unix::fs::{PermissionsExt, chown, symlink};

use rustix::fs::{CWD, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::*;

const LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

fn label_of(path: &Path) -> Option<String> {
    let mut value = [0; 256];
    let length = rustix::fs::lgetxattr(path, ATTRIBUTE, &mut value[..]).ok()?;
    let text = value[..length].strip_suffix(b"\0").unwrap_or(&value[..length]);
    Some(String::from_utf8(text.to_vec()).unwrap())
}

fn label(path: &Path) -> Result<(), String> {
    relabel(path, LABEL, Bounds::default()).map_err(|error| error.to_string())
}

fn mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A folder `data` to label, and one `outside` that is not to be touched.
fn trees() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    let (data, outside) = (top.join("data"), top.join("outside"));
    for folder in [data.join("a/b"), outside.join("deep")] {
        fs_err::create_dir_all(folder).unwrap();
    }
    for file in [data.join("f"), data.join("a/f"), data.join("a/b/f"), outside.join("deep/f")] {
        fs_err::write(file, "").unwrap();
    }
    mode(&data, 0o755);
    (dir, data, outside)
}

#[test]
fn all_of_a_tree_gets_the_label_and_nothing_that_links_lead_to() {
    let (_dir, data, outside) = trees();
    symlink(&outside, data.join("a/out")).unwrap();
    symlink("../outside/deep/f", data.join("up")).unwrap();
    let fifo = data.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    label(&data).unwrap();
    for path in ["", "f", "a", "a/f", "a/b", "a/b/f", "a/out", "up", "fifo"] {
        assert_eq!(label_of(&data.join(path)).as_deref(), Some(LABEL), "{path}");
    }
    for path in ["", "deep", "deep/f"] {
        assert_eq!(label_of(&outside.join(path)), None, "{path}");
    }
    label(&data).unwrap();
}

#[test]
fn one_file_and_a_path_through_a_link_are_labelled() {
    let (_dir, data, outside) = trees();
    label(&data.join("f")).unwrap();
    assert_eq!(label_of(&data.join("f")).as_deref(), Some(LABEL));
    assert_eq!(label_of(&data), None);
    symlink(outside.join("deep"), data.join("link")).unwrap();
    label(&data.join("link")).unwrap();
    assert_eq!(label_of(&outside.join("deep/f")).as_deref(), Some(LABEL));
    assert_eq!((label_of(&outside), label_of(&data.join("link"))), (None, None));
    let links: PathBuf = data.join("link/../deep/f");
    label(&links).unwrap();
    assert_eq!(
        label(&data.join("none")).unwrap_err(),
        "look at: No such file or directory (os error 2)"
    );
}

/// A container may be root, and write to a folder that is labelled for it; elsewhere others may.
#[test]
fn a_link_that_a_container_or_another_user_may_have_made_leads_nowhere() {
    let others: [fn(&Path); 3] = [
        |path| chown(path, Some(1000), None).unwrap(),
        |path| mode(path, 0o1777),
        // At another level than the one that is to be given.
        |path| {
            let theirs = b"system_u:object_r:container_file_t:s0:c7,c9\0";
            rustix::fs::setxattr(path, ATTRIBUTE, theirs, XattrFlags::empty()).unwrap();
        },
    ];
    for theirs in others {
        let (_dir, data, outside) = trees();
        symlink(&outside, data.join("link")).unwrap();
        symlink("link", data.join("again")).unwrap();
        theirs(&data);
        for path in ["link", "again", "link/deep", "a/../link/deep/f"] {
            let refused = label(&data.join(path)).unwrap_err();
            assert!(refused.starts_with(&format!("a link in {data:?} leads to it")), "{refused}");
        }
        for path in ["", "deep", "deep/f"] {
            assert_eq!(label_of(&outside.join(path)), None, "{path}");
        }
        label(&data.join("a/f")).unwrap();
        assert_eq!(label_of(&data.join("a/f")).as_deref(), Some(LABEL));
    }
    let (_dir, data, _) = trees();
    symlink("loop", data.join("loop")).unwrap();
    assert!(label(&data.join("loop")).unwrap_err().starts_with("look at: Too many levels"));
}

#[test]
fn a_label_that_is_there_is_not_written_again() {
    let (_dir, data, _) = trees();
    let path = data.join("f");
    let with_end = [LABEL.as_bytes(), b"\0"].concat();
    rustix::fs::setxattr(&path, ATTRIBUTE, &with_end, XattrFlags::empty()).unwrap();
    let changed =
        || rustix::fs::stat(&path).map(|stat| (stat.st_ctime, stat.st_ctime_nsec)).unwrap();
    let before = changed();
    label(&path).unwrap();
    assert_eq!(changed(), before);
    // The beginning of another is another.
    let longer = format!("{LABEL},c3");
    rustix::fs::setxattr(&path, ATTRIBUTE, longer.as_bytes(), XattrFlags::empty()).unwrap();
    label(&path).unwrap();
    assert_eq!(label_of(&path).as_deref(), Some(LABEL));
}

#[test]
fn what_is_mounted_below_stays_as_it_is() {
    let (_dir, data, outside) = trees();
    let at = data.join("a/b");
    mount(&outside, &at, "", MountFlags::BIND, None).unwrap();
    let labelled = label(&data);
    unmount(&at, UnmountFlags::DETACH).unwrap();
    labelled.unwrap();
    assert_eq!((label_of(&outside), label_of(&outside.join("deep/f"))), (None, None));
    assert_eq!(label_of(&data.join("a")).as_deref(), Some(LABEL));
}

#[test]
fn what_is_the_machines_is_refused() {
    let (_dir, data, _) = trees();
    symlink("/etc", data.join("etc")).unwrap();
    symlink("/", data.join("root")).unwrap();
    for path in SYSTEM {
        // Not every machine has each of them, and some are links.
        let Ok(real) = fs_err::canonicalize(path) else { continue };
        let refused = label(Path::new(path)).unwrap_err();
        let may_be = format!("SELinux relabeling of {real:?} is not allowed");
        assert!(refused == may_be, "{refused}");
    }
    for path in
        [data.join("etc"), data.join("root"), data.join("root/etc/../usr/."), "/etc/".into()]
    {
        let refused = label(&path).unwrap_err();
        assert!(refused.ends_with("is not allowed"), "{path:?}: {refused}");
    }
}

#[test]
fn bounds_are_kept() {
    let (_dir, data, _) = trees();
    let bounded = |bounds| relabel(&data, LABEL, bounds).unwrap_err().to_string();
    let few = Bounds { entries: 5, ..Bounds::default() };
    assert_eq!(bounded(few), "it has more than 5 entries");
    let flat = Bounds { depth: 1, ..Bounds::default() };
    assert_eq!(bounded(flat), "it has more than 1 folders in one another");
    let quick = Bounds { time: Duration::ZERO, ..Bounds::default() };
    assert!(bounded(quick).starts_with("label all of it: "));
    // It comes last: what was not done is not taken for done.
    assert_eq!(label_of(&data), None);
    let enough = Bounds { entries: 6, depth: 2, ..Bounds::default() };
    relabel(&data, LABEL, enough).unwrap();
}

#[test]
fn a_file_system_without_labels_is_left_alone() {
    let (_dir, data, _) = trees();
    let at = data.join("a");
    // This one keeps no attributes.
    let made = mount("none", &at, "ramfs", MountFlags::empty(), None);
    made.unwrap();
    fs_err::write(at.join("f"), "").unwrap();
    let (labelled, has) = (label(&at), label_of(&at.join("f")));
    unmount(&at, UnmountFlags::DETACH).unwrap();
    labelled.unwrap();
    assert_eq!(has, None);
}
