//! The default seccomp profile: a list of what is allowed, ENOSYS or EPERM for the rest.
//!
//! The names are facts of containerd's default profile and kept as data: those that every
//! container has in `seccomp/allowed.txt`, those that come with a capability or a processor
//! below. Names that the runtime's libseccomp does not know yet are skipped by it.

use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg,
    LinuxSeccompArgBuilder, LinuxSeccompOperator, LinuxSyscall,
};

/// Allowed for everybody; a line that starts with # is a remark.
const ALLOWED: &str = include_str!("seccomp/allowed.txt");

/// Allowed for everybody since Linux 4.8, before which a tracer could leave the filter.
const TRACING: &str = "process_vm_readv process_vm_writev ptrace";

/// What a capability brings with it.
const BY_CAPABILITY: [(Capability, &str); 13] = [
    (Capability::DacReadSearch, "open_by_handle_at"),
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (Capability::SysModule, "delete_module init_module finit_module"),
    (Capability::SysPacct, "acct"),
    (
        Capability::SysPtrace,
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    (Capability::SysRawio, "iopl ioperm"),
    (Capability::SysTime, "settimeofday stime clock_settime clock_settime64"),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::SysNice, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (Capability::Syslog, "syslog"),
    (Capability::Bpf, "bpf"),
];

/// What a processor brings with it, by the name that Rust has for it.
const BY_PROCESSOR: [(&str, &str); 4] = [
    ("x86_64", "arch_prctl modify_ldt"),
    (
        "aarch64",
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    ("riscv64", "riscv_flush_icache riscv_hwprobe"),
    ("powerpc64", "sync_file_range2 swapcontext"),
];

/// The values of `personality` that are harmless: Linux, 32-bit, both without randomisation
/// flags' side effects, and the query.
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Address families of `socket` that reach past the network namespace.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;

/// The flags of `clone` that make a namespace.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

const ENOSYS: u32 = 38;

/// The default profile for a container with these capabilities on this machine's processor.
#[must_use]
pub fn default_profile(bounding: &Capabilities) -> LinuxSeccomp {
    let everybody = ALLOWED.lines().filter(|line| !line.starts_with('#'));
    let mut rules = vec![allow(everybody.flat_map(str::split_whitespace))];
    rules.extend(socket_rules());
    rules.extend(PERSONALITIES.map(|value| {
        allow_if("personality", argument(0, value, LinuxSeccompOperator::ScmpCmpEq, None))
    }));
    rules.push(allow(TRACING.split_whitespace()));
    for (processor, names) in BY_PROCESSOR {
        if processor == std::env::consts::ARCH {
            rules.push(allow(names.split_whitespace()));
        }
    }
    for (capability, names) in BY_CAPABILITY {
        if bounding.contains(&capability) {
            rules.push(allow(names.split_whitespace()));
        }
    }
    if bounding.contains(&Capability::Perfmon) {
        rules.push(allow(["perf_event_open"]));
    }
    if !bounding.contains(&Capability::SysAdmin) {
        rules.extend(clone_rules());
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_architectures(Some(architectures()))
        .set_flags(None)
        .set_syscalls(Some(rules));
    profile
}

/// `socket` with any family but AF_ALG and AF_VSOCK.
///
/// Three ranges rather than two inequalities: several conditions on one argument become rules of
/// their own in runc, of which one always matches.
fn socket_rules() -> [LinuxSyscall; 3] {
    use LinuxSeccompOperator as Is;
    [(AF_ALG, Is::ScmpCmpLt), (AF_ALG + 1, Is::ScmpCmpEq), (AF_VSOCK, Is::ScmpCmpGt)]
        .map(|(value, is)| allow_if("socket", argument(0, value, is, None)))
}

/// Without CAP_SYS_ADMIN: `clone` that makes no namespace; `clone3`, whose flags a filter cannot
/// see, answers ENOSYS so that libraries fall back to `clone`.
fn clone_rules() -> [LinuxSyscall; 2] {
    let flags_at = usize::from(std::env::consts::ARCH == "s390x");
    let masked = LinuxSeccompOperator::ScmpCmpMaskedEq;
    let clone = allow_if("clone", argument(flags_at, NEW_NAMESPACES, masked, Some(0)));
    let mut clone3 = rule(["clone3"], LinuxSeccompAction::ScmpActErrno);
    clone3.set_errno_ret(Some(ENOSYS));
    [clone, clone3]
}

fn architectures() -> Vec<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "aarch64" => vec![Arch::ScmpArchArm, Arch::ScmpArchAarch64],
        "s390x" => vec![Arch::ScmpArchS390, Arch::ScmpArchS390x],
        "riscv64" => vec![Arch::ScmpArchRiscv64],
        _ => Vec::new(),
    }
}

fn allow<'a>(names: impl IntoIterator<Item = &'a str>) -> LinuxSyscall {
    rule(names, LinuxSeccompAction::ScmpActAllow)
}

fn allow_if(name: &str, argument: LinuxSeccompArg) -> LinuxSyscall {
    let mut rule = allow([name]);
    rule.set_args(Some(vec![argument]));
    rule
}

fn rule<'a>(names: impl IntoIterator<Item = &'a str>, action: LinuxSeccompAction) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.into_iter().map(ToOwned::to_owned).collect()).set_action(action);
    rule
}

fn argument(
    index: usize,
    value: u64,
    is: LinuxSeccompOperator,
    value_two: Option<u64>,
) -> LinuxSeccompArg {
    let argument = LinuxSeccompArgBuilder::default().index(index).value(value).op(is);
    let argument = match value_two {
        Some(value_two) => argument.value_two(value_two),
        None => argument,
    };
    argument.build().expect("every field of an argument has a default")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(capabilities: &[Capability], name: &str) -> bool {
        let profile = default_profile(&capabilities.iter().copied().collect());
        let is_allowed = |rule: &LinuxSyscall| {
            rule.action() == LinuxSeccompAction::ScmpActAllow
                && rule.names().iter().any(|n| n == name)
                && rule.args().is_none()
        };
        profile.syscalls().iter().flatten().any(is_allowed)
    }

    #[test]
    fn the_list_is_whole() {
        let names: Vec<_> = ALLOWED
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(str::split_whitespace)
            .collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!((names.len(), unique.len()), (COUNT, COUNT));
    }

    /// How many names containerd 2.3 has in its unconditional rule.
    const COUNT: usize = 363;

    #[test]
    fn a_capability_opens_its_calls_and_no_others() {
        assert!(!allowed(&[], "mount") && !allowed(&[], "reboot") && !allowed(&[], "clone"));
        assert!(allowed(&[Capability::SysAdmin], "mount"));
        assert!(allowed(&[Capability::SysAdmin], "clone3"));
        assert!(!allowed(&[Capability::SysAdmin], "reboot"));
        assert!(allowed(&[Capability::SysBoot], "reboot"));
        assert!(allowed(&[Capability::Perfmon], "perf_event_open"));
        assert!(allowed(&[], "openat2") && !allowed(&[], "socket"));
    }

    #[test]
    fn the_namespace_mask_is_the_kernels() {
        let flags = [0x0002_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
        let cgroup = 0x0200_0000;
        assert_eq!(flags.iter().fold(cgroup, |all, flag| all | flag), NEW_NAMESPACES);
    }
}
