//! What is still used here although it is to go, as Introspection's Server tells it.
//!
//! Owns: which of containerd's deprecations can be noticed by this service, and when that was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// The type of the file system of the second hierarchy.
const CGROUP2: u64 = 0x6367_7270;

/// One of containerd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deprecation {
    /// The machine has the first hierarchy of control groups.
    CgroupV1,
    /// A client put the address of a task's shim into runc's options.
    TaskApiAddress,
    /// A client put the version of a shim's task service into runc's options.
    TaskApiVersion,
}

impl Deprecation {
    /// containerd's name of it.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::CgroupV1 => "io.containerd.deprecation/cgroup-v1",
            Self::TaskApiAddress => "io.containerd.deprecation/runc-options-task-api-address",
            Self::TaskApiVersion => "io.containerd.deprecation/runc-options-task-api-version",
        }
    }

    /// What is wrong, and what to do.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::CgroupV1 => {
                "This machine runs on cgroup v1, which containerd has deprecated since 2.2: boot it \
                 with cgroup v2 (systemd.unified_cgroup_hierarchy=1)."
            }
            Self::TaskApiAddress => {
                "A client sets task_api_address in runc's options, which containerd has deprecated \
                 since 2.3: it belongs into the request of Tasks.Create."
            }
            Self::TaskApiVersion => {
                "A client sets task_api_version in runc's options, which containerd has deprecated \
                 since 2.3: it belongs into the request of Tasks.Create."
            }
        }
    }
}

/// What was noticed, and when last. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<BTreeMap<Deprecation, SystemTime>>>);

impl Warnings {
    /// Looks at the machine.
    #[must_use]
    pub fn of_machine() -> Self {
        let warnings = Self::default();
        if !is_unified(Path::new("/sys/fs/cgroup")) {
            warnings.tell(Deprecation::CgroupV1);
        }
        warnings
    }

    /// It was used just now.
    pub fn tell(&self, used: Deprecation) {
        // Its map is changed by single calls: a panic cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(used, SystemTime::now());
    }

    /// All that was used, each with its last time.
    #[must_use]
    pub fn all(&self) -> Vec<(Deprecation, SystemTime)> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().map(|(used, at)| (*used, *at)).collect()
    }
}

fn is_unified(mounted: &Path) -> bool {
    rustix::fs::statfs(mounted)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == CGROUP2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_counts() {
        let warnings = Warnings::default();
        warnings.tell(Deprecation::TaskApiVersion);
        warnings.tell(Deprecation::CgroupV1);
        let first = warnings.all();
        assert_eq!(first[0].0, Deprecation::CgroupV1);
        warnings.tell(Deprecation::TaskApiVersion);
        let again = warnings.all();
        assert_eq!(again.len(), 2);
        assert!(again[1].1 >= first[1].1 && again[0] == first[0]);
    }

    #[test]
    fn a_folder_of_another_kind_is_no_unified_hierarchy() {
        assert!(!is_unified(Path::new("/proc")) && !is_unified(Path::new("/no/such")));
    }
}
