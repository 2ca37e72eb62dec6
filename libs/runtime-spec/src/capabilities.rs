//! Which capabilities a container's program has.

use std::str::FromStr;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use crate::{Error, Options};

/// containerd's default set.
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// Every capability in the order of its kernel number (capability.h).
const BY_NUMBER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The set that a container has unless it asks for another.
#[must_use]
pub fn default_capabilities() -> Capabilities {
    DEFAULT.into_iter().collect()
}

/// The set that `options` ask for: drops, then adds, so that `ALL` dropped and one added is one.
pub(crate) fn wanted(options: &Options) -> Result<Capabilities, Error> {
    let mut set = if options.privileged { held_capabilities() } else { default_capabilities() };
    for name in &options.cap_drop {
        match capability(name)? {
            Some(capability) => {
                set.remove(&capability);
            }
            None => set.clear(),
        }
    }
    for name in &options.cap_add {
        match capability(name)? {
            Some(capability) => {
                set.insert(capability);
            }
            None => set.extend(held_capabilities()),
        }
    }
    Ok(set)
}

/// The process's capabilities: `set` as bounding, permitted and effective, none inherited.
pub(crate) fn of_process(set: Capabilities) -> LinuxCapabilities {
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(set.clone()))
        .set_permitted(Some(set.clone()))
        .set_effective(Some(set))
        .set_inheritable(None)
        .set_ambient(None);
    capabilities
}

/// A capability by name, with or without `CAP_` and in any case; `None` is `ALL`.
///
/// # Errors
/// [`Error::UnknownCapability`].
pub fn capability(name: &str) -> Result<Option<Capability>, Error> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Ok(None);
    }
    let unknown = |_| Error::UnknownCapability(name.to_owned());
    Capability::from_str(bare).map(Some).map_err(unknown)
}

/// All that this process may pass on: asking a runtime for more than that is refused by the kernel.
#[must_use]
pub fn held_capabilities() -> Capabilities {
    let status = rustix::thread::capabilities(None);
    let bits = status.map_or(0, |sets| sets.permitted.bits());
    let bits = if bits == 0 { u64::MAX } else { bits };
    let held = |(number, capability)| (bits >> number & 1 == 1).then_some(capability);
    BY_NUMBER.into_iter().enumerate().filter_map(held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(add: &[&str], drop: &[&str]) -> Result<Vec<String>, Error> {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let options = Options { cap_add: own(add), cap_drop: own(drop), ..Default::default() };
        let mut names: Vec<_> = wanted(&options)?.iter().map(ToString::to_string).collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn adds_come_after_drops() {
        assert_eq!(names(&["net_admin"], &["ALL"]).unwrap(), ["NET_ADMIN"]);
        assert_eq!(names(&[], &[]).unwrap().len(), 14);
        assert_eq!(names(&["CAP_SYS_ADMIN"], &["CAP_KILL"]).unwrap().len(), 14);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert!(matches!(names(&["CAP_FLY"], &[]), Err(Error::UnknownCapability(_))));
    }
}
