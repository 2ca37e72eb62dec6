//! The kernel and its control groups.

use std::path::Path;

use super::Line;

/// The first with openat2, without which no layer is extracted.
const LEAST: (u32, u32) = (5, 6);
/// Controllers without which limits do not count.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "cpuset"];

pub(super) fn version() -> Line {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy().into_owned();
    match parsed(&release) {
        Some(version) if version < LEAST => {
            let next = format!("boot a kernel of version {}.{} or later", LEAST.0, LEAST.1);
            Line::fail("kernel", release, next)
        }
        Some(_) => Line::ok("kernel", release),
        None => Line::warn("kernel", release, "see that it is 5.6 or later"),
    }
}

fn parsed(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn cgroups() -> Line {
    let root = Path::new("/sys/fs/cgroup");
    match fs_err::read_to_string(root.join("cgroup.controllers")) {
        Ok(there) => second(&there),
        Err(_) => first(&fs_err::read_to_string("/proc/cgroups").unwrap_or_default(), |name| {
            // Some are mounted together, and a link has the name of each.
            root.join(name).exists()
        }),
    }
}

fn missing(has: impl Fn(&str) -> bool) -> Vec<&'static str> {
    CONTROLLERS.into_iter().filter(|name| !has(name)).collect()
}

fn second(there: &str) -> Line {
    let missing = missing(|name| there.split_whitespace().any(|has| has == name));
    match missing.is_empty() {
        true => Line::ok("cgroups", "version 2"),
        false => Line::warn(
            "cgroups",
            format!("version 2 without {}", missing.join(", ")),
            "enable them in cgroup.subtree_control of the groups above, limits do not count else",
        ),
    }
}

fn first(table: &str, mounted: impl Fn(&str) -> bool) -> Line {
    let enabled = |name: &str| {
        let row = table.lines().find(|row| row.split_whitespace().next() == Some(name));
        row.is_some_and(|row| row.split_whitespace().last() == Some("1"))
    };
    let missing = missing(|name| enabled(name) && mounted(name));
    let next = "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)";
    match missing.as_slice() {
        [] => Line::warn("cgroups", "version 1, which runc gives up", next),
        missing if missing.contains(&"memory") || missing.contains(&"pids") => {
            Line::fail("cgroups", format!("version 1 without {}", missing.join(", ")), next)
        }
        missing => Line::warn("cgroups", format!("version 1 without {}", missing.join(", ")), next),
    }
}

pub(super) fn seccomp() -> Line {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    match status.lines().any(|line| line.starts_with("Seccomp:")) {
        true => Line::ok("seccomp", "there"),
        false => Line::warn(
            "seccomp",
            "the kernel has none",
            "boot a kernel with CONFIG_SECCOMP_FILTER; specifications with a profile fail",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn releases_are_read() {
        assert_eq!(parsed("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(parsed("5.4.0"), Some((5, 4)));
        assert_eq!(parsed("new"), None);
    }

    #[test]
    fn controllers_that_are_missing_are_named() {
        assert_eq!(second("cpuset cpu io memory hugetlb pids\n").verdict, Verdict::Ok);
        assert_eq!(second("cpu memory").found, "version 2 without pids, cpuset");
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t1\t2\t1\ncpu\t1\t2\t1\n\
                     memory\t2\t3\t0\npids\t3\t4\t1\n";
        let line = first(table, |_| true);
        assert_eq!((line.verdict, line.found), (Verdict::Fail, "version 1 without memory".into()));
        assert_eq!(first(&table.replace("\t0", "\t1"), |_| true).verdict, Verdict::Warn);
        assert_eq!(first(&table.replace("\t0", "\t1"), |of| of != "pids").verdict, Verdict::Fail);
    }
}
