//! Real namespaces. Needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use berth_errors::{Code, Coded};
use berth_netns::{Maps, NetNs, Owned, in_new, is_namespace, leftovers, list};
use berth_testkit::{is_root, program};

/// Removes what is left in a folder also when a test fails: a mount in it would keep it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for pin in list(self.path()).unwrap_or_default() {
            let _ = pin.remove();
        }
    }
}

fn own() -> u64 {
    fs::metadata("/proc/thread-self/ns/net").unwrap().ino()
}

#[test]
fn one_is_made_entered_and_removed() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let deep = folder.path().join("a/b");
    let ns = NetNs::make(&deep, "blue").unwrap();
    assert_eq!(ns.path(), deep.join("blue"));
    assert!(ns.is_pinned().unwrap() && is_namespace(ns.path()));
    let (inside, outside) = (ns.enter(own).unwrap(), own());
    assert_ne!(inside, outside);
    assert_eq!(inside, fs::metadata(ns.path()).unwrap().ino());
    // The loopback device is up, for both families.
    let reached = ns.enter(|| {
        let four = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        [four, six].map(|l| TcpStream::connect(l.local_addr().unwrap()).is_ok())
    });
    assert_eq!(reached.unwrap(), [true, true]);
    let kept = ns.open().unwrap();
    ns.remove().unwrap();
    assert!(!ns.path().exists());
    ns.remove().unwrap();
    NetNs::at(folder.path().join("no/such")).remove().unwrap();
    assert_eq!(ns.enter(own).unwrap_err().code(), Code::NotFound);
    drop(kept);
}

#[test]
fn a_name_is_taken_once_and_is_a_name() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let ns = NetNs::make(folder.path(), "one").unwrap();
    let error = NetNs::make(folder.path(), "one").unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists, "{error}");
    assert!(ns.is_pinned().unwrap(), "the first stays");
    for name in ["", ".", "..", "a/b", ".hidden", "nul\0", &"x".repeat(256)] {
        let error = NetNs::make(folder.path(), name).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{name:?}: {error}");
    }
}

#[test]
fn what_a_kill_leaves_is_known_and_taken_over() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    // Cut off between the file and the mount, or between the end of the mount and that of the file.
    for name in ["left", "right"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    fs::create_dir(folder.path().join("folder")).unwrap();
    let at = |name: &str| NetNs::at(folder.path().join(name));
    assert_eq!(leftovers(folder.path()).unwrap(), [at("left"), at("right")]);
    assert_eq!(list(folder.path()).unwrap(), []);
    let left = NetNs::make(folder.path(), "left").unwrap();
    assert!(left.is_pinned().unwrap());
    assert!(!at("right").is_pinned().unwrap());
    assert_eq!(at("right").open().unwrap_err().code(), Code::NotFound);
    at("right").remove().unwrap();
    assert_eq!(list(folder.path()).unwrap(), std::slice::from_ref(&left));
    assert_eq!(leftovers(folder.path()).unwrap(), []);
    // Twice mounted on one another, by whatever mistake.
    let twice = program("mount").args(["--bind"]).args([left.path(), left.path()]).output();
    twice.unwrap().ok().unwrap();
    left.remove().unwrap();
    assert!(!left.path().exists());
    assert_eq!(list(&folder.path().join("nowhere")).unwrap(), []);
}

#[test]
fn a_symlink_is_never_followed_to_be_removed() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let real = NetNs::make(folder.path(), "real").unwrap();
    let link = NetNs::at(folder.path().join("link"));
    std::os::unix::fs::symlink(real.path(), link.path()).unwrap();
    assert!(!link.is_pinned().unwrap());
    assert!(is_namespace(link.path()), "others may be led there");
    link.remove().unwrap();
    assert!(real.is_pinned().unwrap());
}

#[test]
fn many_are_made_and_removed_at_once() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let made = std::thread::scope(|scope| {
        let make = |n: usize| {
            let folder = folder.path();
            scope.spawn(move || NetNs::make(folder, &format!("n{}", n % 4)).is_ok())
        };
        let makers: Vec<_> = (0..8).map(make).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).filter(|made| *made).count()
    });
    assert_eq!(made, 4, "each name was had once");
    let pins = list(folder.path()).unwrap();
    assert_eq!(pins.len(), 4);
    std::thread::scope(|scope| {
        for pin in &pins {
            scope.spawn(|| pin.remove().unwrap());
            scope.spawn(|| pin.remove().unwrap());
        }
    });
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_thread_in_a_new_one_leaves_this_process_where_it_is() {
    if !is_root() {
        return;
    }
    let before = own();
    let inside = in_new(own).unwrap();
    assert_ne!(inside, before);
    assert_eq!(own(), before);
}

#[test]
fn one_may_be_owned_by_other_users() {
    if !is_root() {
        return;
    }
    let (folder, users) = (Folder::new(), Folder::new());
    let line = |first: u32| format!("0 {first} 65536\n");
    let maps = Maps { uids: line(200_000), gids: line(300_000) };
    let made = Owned::make(folder.path(), users.path(), "blue", &maps).unwrap();
    assert!(made.network.is_pinned().unwrap() && made.users.is_pinned().unwrap());
    // Who enters the one has the right to change the other, and nothing else.
    let inside = |script: &str| {
        let enter = program("nsenter").args([
            format!("--user={}", made.users.path().display()),
            format!("--net={}", made.network.path().display()),
        ]);
        enter.args(["sh", "-c", script]).output().unwrap()
    };
    let said =
        inside("ip -o link show lo; cat /proc/self/uid_map /proc/self/gid_map").ok().unwrap();
    let words: Vec<_> = said.split_whitespace().collect();
    assert!(said.contains("LOOPBACK,UP"), "{said}");
    assert!(words.ends_with(&["0", "200000", "65536", "0", "300000", "65536"]), "{said}");
    inside("ip link set lo down").ok().unwrap();
    let outside = format!("nsenter --net=/proc/{}/ns/net ip link", std::process::id());
    assert_ne!(inside(&outside).code, 0);

    // A name that is taken, and maps that are none, leave nothing.
    let error = Owned::make(folder.path(), users.path(), "blue", &maps).unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    let twice = Maps { uids: line(0) + &line(7), gids: line(0) };
    let error = Owned::make(folder.path(), users.path(), "red", &twice).unwrap_err();
    assert!(error.to_string().starts_with("make a user namespace: "), "{error}");
    assert_eq!((list(folder.path()).unwrap().len(), list(users.path()).unwrap().len()), (1, 1));
    for pin in [made.network, made.users] {
        pin.remove().unwrap();
    }
    assert!(leftovers(users.path()).unwrap().is_empty());
}
