//! What the node has.

use std::path::{Path, PathBuf};

use berth_cgroup::Place;

/// What AppArmor holds.
const APPARMOR: &str = "/sys/kernel/security/apparmor";
const APPARMOR_ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
const APPARMOR_PARSER: &str = "/sbin/apparmor_parser";

/// What of the node specs depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name, which pods without one of their own have.
    pub hostname: String,
    /// Whether there is only the second hierarchy of control groups.
    pub unified: bool,
    /// Whether swap can be limited.
    pub swap: bool,
    /// Whether huge pages can be limited.
    pub hugetlb: bool,
    /// Whether the kernel filters system calls.
    pub seccomp: bool,
    /// Where AppArmor lists the profiles that it holds, where it is on and can be told more.
    pub apparmor: Option<PathBuf>,
    /// Our own score for the kernel's choice of whom to kill.
    pub oom_score_adj: i32,
    /// Whether we are in a user namespace ourselves.
    pub in_user_namespace: bool,
}

impl Node {
    /// Looks at the node. What cannot be seen is not there.
    #[must_use]
    pub fn look() -> Self {
        let unified = berth_cgroup::unified();
        let name = rustix::system::uname();
        let score = fs_err::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
        let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            hostname: name.nodename().to_string_lossy().into_owned(),
            unified,
            swap: has_swap(unified),
            hugetlb: has_hugetlb(unified),
            seccomp: status.lines().any(|line| line.starts_with("Seccomp:")),
            apparmor: apparmor(),
            oom_score_adj: score.trim().parse().unwrap_or_default(),
            in_user_namespace: !maps_everybody(),
        }
    }
}

fn has_swap(unified: bool) -> bool {
    if !unified {
        return Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
    }
    // The root of the hierarchy has no limits.
    let own =
        i32::try_from(std::process::id()).ok().and_then(|pid| berth_cgroup::of_process(pid).ok());
    matches!(own, Some(Place::V2(own)) if own.join("memory.swap.max").exists())
}

fn has_hugetlb(unified: bool) -> bool {
    if !unified {
        return Path::new("/sys/fs/cgroup/hugetlb").exists();
    }
    let controllers = fs_err::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    controllers.is_ok_and(|all| all.split_whitespace().any(|one| one == "hugetlb"))
}

fn apparmor() -> Option<PathBuf> {
    let contained = std::env::var_os("container").is_some_and(|value| !value.is_empty());
    let enabled =
        || fs_err::read_to_string(APPARMOR_ENABLED).is_ok_and(|text| text.starts_with('Y'));
    let is_there = Path::new(APPARMOR).exists() && !contained;
    let can_be_told = is_there && Path::new(APPARMOR_PARSER).exists() && enabled();
    can_be_told.then(|| Path::new(APPARMOR).join("profiles"))
}

/// Whether every number of a user is that of the node.
fn maps_everybody() -> bool {
    let map = fs_err::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_name_and_a_filter() {
        let node = Node::look();
        assert!(!node.hostname.is_empty());
        assert!(node.seccomp);
        assert_eq!(node.unified, !Path::new("/sys/fs/cgroup/memory").exists());
    }
}
