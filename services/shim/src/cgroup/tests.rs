//! Groups that come and go while processes are asked for.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Somebody makes and removes groups of its own, as a container may, for as long as this looks.
#[test]
fn a_group_that_is_removed_meanwhile_fails_no_answer() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = Path::new("/sys/fs/cgroup");
    let hierarchy = if berth_cgroup::unified() { root.to_owned() } else { root.join("pids") };
    let top = hierarchy.join(format!("berth-test-pids-{}", std::process::id()));
    let inner = top.join("in");
    std::fs::create_dir_all(&top).unwrap();
    let done = AtomicBool::new(false);
    let (mut seen, mut failed) = (false, None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::fs::create_dir(&inner).unwrap();
                std::fs::remove_dir(&inner).unwrap();
            }
        });
        for _ in 0..20_000 {
            let mut pids = Vec::new();
            seen |= inner.exists();
            if let Err(error) = collect(&top, &mut pids) {
                failed = Some(error.to_string());
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    std::fs::remove_dir(&top).unwrap();
    assert_eq!(failed, None);
    assert!(seen, "it never was there");
}

#[test]
fn a_group_that_was_never_there_has_nobody() {
    let mut pids = Vec::new();
    collect(Path::new("/sys/fs/cgroup/berth-test-none"), &mut pids).unwrap();
    assert_eq!(pids, [0; 0]);
}
