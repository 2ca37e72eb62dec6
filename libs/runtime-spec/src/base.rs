//! The spec that everything with rules of its own begins with.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Mount, Process, Root, Spec};

use crate::{capabilities, defaults, devices};

/// Defaults that only containerd's command line has.
const NOT_IN_BASE: [&str; 2] = ["/run", "/sys/fs/cgroup"];

/// containerd's default spec, as its library has it: the defaults of [`crate::build`] without
/// program, `/run`, control groups and seccomp, with a network of its own and no devices but
/// those that the runtime gives to every container.
#[must_use]
pub fn base(cgroups_path: &Path) -> Spec {
    let mut namespaces = defaults::namespaces();
    namespaces.push(defaults::namespace(LinuxNamespaceType::Network));
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(devices::none_allowed()));
    let mut linux = Linux::default();
    linux
        .set_resources(Some(resources))
        .set_cgroups_path(Some(cgroups_path.to_owned()))
        .set_namespaces(Some(namespaces))
        .set_devices(None)
        .set_masked_paths(Some(defaults::MASKED_PATHS.map(str::to_owned).into()))
        .set_readonly_paths(Some(defaults::READONLY_PATHS.map(str::to_owned).into()));
    let mut process = Process::default();
    process
        .set_args(None)
        .set_env(None)
        .set_cwd("/".into())
        .set_capabilities(Some(capabilities::of_process(capabilities::default_capabilities())))
        .set_rlimits(Some(defaults::rlimits()))
        .set_no_new_privileges(Some(true));
    let mut root = Root::default();
    root.set_path("rootfs".into()).set_readonly(Some(false));
    let mut mounts = defaults::mounts(false);
    mounts.retain(|mount| NOT_IN_BASE.iter().all(|path| mount.destination() != Path::new(path)));
    let mut spec = Spec::default();
    spec.set_version(defaults::SPEC_VERSION.to_owned())
        .set_root(Some(root))
        .set_mounts(Some(mounts))
        .set_process(Some(process))
        .set_hostname(None)
        .set_annotations(None)
        .set_linux(Some(linux));
    spec
}

/// One mount of a spec.
#[must_use]
pub fn base_mount(destination: &Path, kind: &str, source: &Path, options: &[&str]) -> Mount {
    defaults::mount(destination, kind, source, options.iter().map(ToString::to_string))
}
