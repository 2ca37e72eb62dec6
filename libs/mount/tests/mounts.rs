//! Real mounts. Needs root.

use std::fs;
use std::path::Path;
use std::time::Duration;

use berth_errors::{Code, Coded};
use berth_mount::{Mount, TempMount, mount_all, mountinfo, unmount_all, unmount_beneath};
use berth_testkit::is_root;

fn mount(kind: &str, source: &Path, target: &str, options: &[&str]) -> Mount {
    Mount {
        kind: kind.into(),
        source: source.display().to_string(),
        target: target.into(),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
    }
}

#[test]
fn a_read_only_bind_refuses_writes_and_is_undone() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("s"), dir.path().join("t"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(source.join("f"), "x").unwrap();
    mount_all(&[mount("bind", &source, "", &["rbind", "ro", "nosuid"])], &target).unwrap();
    assert_eq!(fs::read(target.join("f")).unwrap(), b"x");
    assert!(fs::write(target.join("g"), "y").is_err());
    let info = mountinfo::beneath(&target).unwrap();
    assert!(info[0].options.starts_with("ro,nosuid"), "{}", info[0].options);
    unmount_all(&target).unwrap();
    unmount_all(&target).unwrap();
    assert!(!target.join("f").exists());
}

#[test]
fn an_inner_target_cannot_leave_its_root() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, target, outside) =
        (dir.path().join("s"), dir.path().join("t"), dir.path().join("o"));
    for path in [&source, &target, &outside] {
        fs::create_dir(path).unwrap();
    }
    fs::write(source.join("f"), "x").unwrap();
    std::os::unix::fs::symlink(&outside, target.join("link")).unwrap();
    let escape = [mount("bind", &source, "link", &["bind"])];
    let error = mount_all(&escape, &target).unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
    assert!(!outside.join("f").exists());
    fs::create_dir(target.join("in")).unwrap();
    mount_all(&[mount("bind", &source, "/in", &["bind"])], &target).unwrap();
    assert!(target.join("in/f").exists());
    unmount_beneath(&target).unwrap();
    assert!(!target.join("in/f").exists());
}

#[test]
fn a_failed_list_leaves_no_mount() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mounts = [
        mount("tmpfs", Path::new("tmpfs"), "", &["size=64k"]),
        mount("bind", Path::new("/no/such/source"), "", &["bind"]),
    ];
    let error = mount_all(&mounts, dir.path()).unwrap_err();
    assert!(error.to_string().contains("bind of /no/such/source"), "{error}");
    assert!(mountinfo::beneath(dir.path()).unwrap().is_empty());
}

/// Flags, propagation and owners are those of the mount that was made, not of what is beneath it.
#[test]
fn a_mount_below_the_target_has_what_it_asks_for() {
    use std::os::unix::fs::MetadataExt;
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("s"), dir.path().join("t"));
    for path in [&source, &target, &target.join("in"), &source.join("in")] {
        fs::create_dir(path).unwrap();
    }
    let below = |name: &str| target.join(name);
    let maps = ["uidmap=0:1000:10", "gidmap=0:1000:10", "size=64k"];
    let list = [
        mount("bind", &source, "", &["rbind", "rw"]),
        mount("bind", &source, "in", &["bind", "ro", "nosuid", "rshared"]),
        mount("tmpfs", Path::new("tmpfs"), "in/in", &maps),
    ];
    mount_all(&list, &target).unwrap();
    assert!(fs::write(below("in/f"), "x").is_err(), "it is read-only");
    fs::write(below("f"), "x").unwrap();
    assert_eq!(fs::metadata(below("in/in")).unwrap().uid(), 1000);
    let mounts = mountinfo::beneath(&target).unwrap();
    assert_eq!(mounts.len(), 3, "{mounts:?}");
    let inner = mounts.iter().find(|mount| mount.mount_point == below("in")).unwrap();
    assert!(inner.propagation.iter().any(|tag| tag.starts_with("shared:")), "{inner:?}");
    unmount_beneath(&target).unwrap();

    // One that fails takes those before it along, and leaves what was there before.
    let tmpfs = mount("tmpfs", Path::new("tmpfs"), "", &["size=64k"]);
    mount_all(&[tmpfs], &below("in")).unwrap();
    let missing = mount("bind", Path::new("/no/such/source"), "in", &["bind"]);
    let [_, bind, _] = list;
    mount_all(&[bind, missing], &target).unwrap_err();
    let mounts = mountinfo::beneath(&target).unwrap();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert_eq!(mounts[0].kind, "tmpfs");
    unmount_all(&below("in")).unwrap();
}

#[test]
fn two_hundred_layers_do_not_fit_a_page_but_mount() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layers: Vec<String> = (0..200)
        .map(|n| {
            let layer = dir.path().join(format!("snapshots/{n}/fs"));
            fs::create_dir_all(&layer).unwrap();
            fs::write(layer.join("who"), n.to_string()).unwrap();
            layer.to_str().unwrap().to_owned()
        })
        .collect();
    for name in ["up", "work"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let options = [
        format!("workdir={}", at("work")),
        format!("upperdir={}", at("up")),
        format!("lowerdir={}", layers.join(":")),
        "index=off".to_owned(),
    ];
    let overlay = Mount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options: options.to_vec(),
    };
    let mounted = TempMount::new(std::slice::from_ref(&overlay), dir.path(), "m").unwrap();
    assert_eq!(fs::read(mounted.path().join("who")).unwrap(), b"0");
    fs::write(mounted.path().join("new"), "x").unwrap();
    assert!(dir.path().join("up/new").exists());
    let path = mounted.path().to_owned();
    drop(mounted);
    assert!(!path.exists());

    let view = TempMount::new(&[overlay.read_only()], dir.path(), "v").unwrap();
    assert!(view.path().join("new").exists());
    assert!(fs::write(view.path().join("other"), "x").is_err());
}

#[test]
fn a_busy_mount_is_detached() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tmpfs = mount("tmpfs", Path::new("tmpfs"), "", &["size=64k", "mode=0700"]);
    mount_all(&[tmpfs], dir.path()).unwrap();
    let held = fs::File::create(dir.path().join("held")).unwrap();
    unmount_all(dir.path()).unwrap();
    assert!(mountinfo::beneath(dir.path()).unwrap().is_empty());
    drop(held);
}

#[test]
fn a_file_is_mounted_from_a_loop_device_that_ends_with_the_mount() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, target) = (dir.path().join("image"), dir.path().join("t"));
    fs::create_dir(&target).unwrap();
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    berth_testkit::run(&format!("mkfs.ext4 -q {}", image.display())).unwrap();
    mount_all(&[mount("ext4", &image, "", &["loop"])], &target).unwrap();
    fs::write(target.join("f"), "kept").unwrap();
    let devices = || {
        let blocks = fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path());
        let file = |block: std::path::PathBuf| fs::read_to_string(block.join("loop/backing_file"));
        let of_image = |file: &String| file.trim_end() == image.display().to_string();
        blocks.filter_map(|block| file(block).ok()).filter(of_image).count()
    };
    assert_eq!(devices(), 1);
    unmount_all(&target).unwrap();
    // The kernel lets go of it with its last user, which a child of another test may be for a moment.
    berth_testkit::until("the device is detached", Duration::from_secs(60), || devices() == 0)
        .unwrap();
    mount_all(&[mount("ext4", &image, "", &["loop", "ro"])], &target).unwrap();
    assert_eq!(fs::read(target.join("f")).unwrap(), b"kept");
    assert!(fs::write(target.join("f"), "y").is_err());
    unmount_all(&target).unwrap();
    let missing = mount("ext4", &dir.path().join("nothing"), "", &["loop"]);
    assert_eq!(mount_all(&[missing], &target).unwrap_err().code(), Code::NotFound);
}

/// Owners of what a mount shows, each as it is on disk plus what the range adds.
#[test]
fn owners_are_mapped_in_several_ranges() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (lower, top) = (dir.path().join("layers/1/fs"), dir.path().join("layers/2/fs"));
    for (layer, file, owner) in [(&lower, "root", 0), (&lower, "ten", 10), (&top, "twenty", 20)] {
        fs::create_dir_all(layer).unwrap();
        fs::write(layer.join(file), "x").unwrap();
        chown(layer.join(file), Some(owner), Some(owner)).unwrap();
    }
    for part in ["upper", "work", "t"] {
        fs::create_dir(dir.path().join(part)).unwrap();
    }
    let at = |part: &str| dir.path().join(part).display().to_string();
    let maps = ["uidmap=0:1000:1,10:5000:20".to_owned(), "gidmap=0:2000:50".to_owned()];
    let options = [
        format!("workdir={}", at("work")),
        format!("upperdir={}", at("upper")),
        format!("lowerdir={}:{}", top.display(), lower.display()),
    ];
    let overlay = Mount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options: maps.iter().chain(&options).cloned().collect(),
    };
    let bind = Mount {
        kind: "bind".into(),
        source: lower.display().to_string(),
        target: String::new(),
        options: maps.iter().cloned().chain(["ro".into(), "rbind".into()]).collect(),
    };
    let target = dir.path().join("t");
    let owner = |file: &str| {
        let found = fs::metadata(target.join(file)).unwrap();
        (found.uid(), found.gid())
    };
    // Temporary mounts are in folders of their own, and name this one as what they show.
    let ours = || {
        let name = dir.path().file_name().unwrap().to_str().unwrap();
        let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
        all.lines().filter(|line| line.contains(name)).count()
    };
    let before = ours();
    mount_all(&[overlay], &target).unwrap();
    assert_eq!((owner("root"), owner("ten")), ((1000, 2000), (5000, 2010)));
    assert_eq!(owner("twenty"), (5010, 2020));
    fs::write(target.join("root"), "changed").unwrap();
    assert_eq!(owner("root"), (1000, 2000));
    assert_eq!(ours(), before + 1, "only the overlay stays");
    unmount_all(&target).unwrap();
    let copied = fs::metadata(dir.path().join("upper/root")).unwrap();
    assert_eq!((copied.uid(), copied.gid()), (1000, 2000));
    mount_all(&[bind], &target).unwrap();
    assert_eq!(owner("ten"), (5000, 2010));
    assert!(fs::write(target.join("new"), "x").is_err());
    unmount_all(&target).unwrap();
    assert_eq!(fs::metadata(lower.join("ten")).unwrap().uid(), 10);
}

/// A lower directory that is itself a mount, and one left over that has a name of ours.
#[test]
fn lower_directories_that_are_mounts_are_mapped() {
    use std::os::unix::fs::MetadataExt;
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [a, b, target] = ["a", "b", "t"].map(|name| dir.path().join(name));
    for path in [&a, &b, &target] {
        fs::create_dir(path).unwrap();
    }
    let tmpfs = mount("tmpfs", Path::new("tmpfs"), "", &["size=64k", "mode=0755"]);
    mount_all(std::slice::from_ref(&tmpfs), &a).unwrap();
    fs::write(a.join("f"), "x").unwrap();
    let left = std::env::temp_dir();
    let left: Vec<_> = (0..40)
        .map(|n| left.join(format!("berth-mapped-{}-{n}", std::process::id())))
        .filter(|path| fs::create_dir(path).is_ok())
        .collect();
    let lowers = format!("lowerdir={}:{}", a.display(), b.display());
    let options = ["uidmap=0:1000:10", "gidmap=0:1000:10", &lowers];
    let mounted = mount_all(&[mount("overlay", Path::new("overlay"), "", &options)], &target);
    for path in left {
        fs::remove_dir(path).unwrap();
    }
    mounted.unwrap();
    assert_eq!(fs::metadata(target.join("f")).unwrap().uid(), 1000);
    unmount_all(&target).unwrap();
    // Its access times are kept otherwise than the kernel's default.
    let options = ["rbind", "noatime", "uidmap=0:1000:10", "gidmap=0:1000:10"];
    mount_all(&[mount("bind", &a, "", &options)], &target).unwrap();
    let info = mountinfo::beneath(&target).unwrap();
    assert!(info[0].options.contains("noatime"), "{}", info[0].options);
    unmount_all(&target).unwrap();
    // From a loop device, mapped.
    let image = dir.path().join("image");
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    berth_testkit::run(&format!("mkfs.ext4 -q {}", image.display())).unwrap();
    let options = ["loop", "uidmap=0:1000:10", "gidmap=0:1000:10"];
    mount_all(&[mount("ext4", &image, "", &options)], &target).unwrap();
    assert_eq!(fs::metadata(target.join("lost+found")).unwrap().uid(), 1000);
    unmount_all(&target).unwrap();
    unmount_all(&a).unwrap();
}

/// As many layers as no page holds, each of them mapped.
#[test]
fn a_hundred_and_fifty_layers_are_mapped() {
    use std::os::unix::fs::MetadataExt;
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layers: Vec<String> = (0..150)
        .map(|n| {
            let layer = dir.path().join(format!("layers/{n}/fs"));
            fs::create_dir_all(&layer).unwrap();
            fs::write(layer.join(format!("f{n}")), "x").unwrap();
            layer.display().to_string()
        })
        .collect();
    let target = dir.path().join("t");
    fs::create_dir(&target).unwrap();
    let overlay = Mount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options: vec![
            "uidmap=0:1000:10".into(),
            "gidmap=0:1000:10".into(),
            format!("lowerdir={}", layers.join(":")),
        ],
    };
    mount_all(&[overlay], &target).unwrap();
    for file in ["f0", "f149"] {
        assert_eq!(fs::metadata(target.join(file)).unwrap().uid(), 1000);
    }
    unmount_all(&target).unwrap();
}
