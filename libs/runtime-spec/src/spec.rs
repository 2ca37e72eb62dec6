//! Putting a spec together.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxCpu, LinuxMemory, LinuxNamespace, LinuxNamespaceType, LinuxPids, LinuxResources,
    Mount, Process, Root, Spec,
};

use crate::{
    BindMount, Error, ImageConfig, Limits, Network, Options, RootView, capabilities, defaults,
    devices, seccomp, users,
};

/// The period over which a processor limit is kept, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// The spec for a container of `image` with `options`, whose users are looked up in `root`.
///
/// # Errors
/// [`Error`] when image or options ask for what cannot be.
pub fn build(image: &ImageConfig, options: &Options, root: &RootView) -> Result<Spec, Error> {
    let capabilities = capabilities::wanted(options)?;
    let mut linux = Linux::default();
    linux
        .set_resources(Some(resources(options)?))
        .set_cgroups_path(Some(cgroups_path(options)))
        .set_namespaces(Some(namespaces(options)))
        .set_devices(None)
        .set_masked_paths(None)
        .set_readonly_paths(None);
    if options.privileged {
        linux.set_devices(Some(devices::host_devices()?));
    } else {
        linux.set_masked_paths(Some(defaults::MASKED_PATHS.map(str::to_owned).into()));
        linux.set_readonly_paths(Some(defaults::READONLY_PATHS.map(str::to_owned).into()));
        if !options.seccomp_unconfined {
            linux.set_seccomp(Some(seccomp::default_profile(&capabilities)));
        }
    }
    add_devices(&mut linux, options)?;

    let mut process = Process::default();
    process
        .set_terminal(Some(options.terminal))
        .set_user(users::resolve(root, options.user.as_deref().unwrap_or(&image.user))?)
        .set_args(Some(args(image, options)?))
        .set_env(Some(environment(&image.env, options)))
        .set_cwd(cwd(image, options)?)
        .set_capabilities(Some(capabilities::of_process(capabilities)))
        .set_rlimits(Some(defaults::rlimits()))
        .set_no_new_privileges(Some(!options.privileged && !options.allow_new_privileges));

    let mut root = Root::default();
    root.set_path("rootfs".into()).set_readonly(Some(options.read_only));
    let mut spec = Spec::default();
    spec.set_version(defaults::SPEC_VERSION.to_owned())
        .set_root(Some(root))
        .set_mounts(Some(mounts(options)?))
        .set_process(Some(process))
        .set_hostname(options.hostname.clone())
        .set_linux(Some(linux));
    if !options.annotations.is_empty() {
        spec.set_annotations(Some(options.annotations.clone().into_iter().collect()));
    }
    Ok(spec)
}

/// The process of an `exec` in a container whose own is `of`; of `options` those count that
/// concern a process.
///
/// # Errors
/// [`Error`] when `options` ask for what cannot be.
pub fn exec_process(of: &Process, options: &Options, root: &RootView) -> Result<Process, Error> {
    if options.args.is_empty() {
        return Err(Error::NoCommand);
    }
    let mut process = of.clone();
    let inherited = of.env().clone().unwrap_or_default();
    process
        .set_terminal(Some(options.terminal))
        .set_args(Some(options.args.clone()))
        .set_env(Some(environment(&inherited, options)));
    if let Some(user) = &options.user {
        process.set_user(users::resolve(root, user)?);
    }
    if let Some(cwd) = &options.cwd {
        process.set_cwd(absolute("working directory", Path::new(cwd))?);
    }
    if options.privileged {
        process.set_capabilities(Some(capabilities::of_process(capabilities::wanted(options)?)));
        process.set_no_new_privileges(Some(false));
    }
    Ok(process)
}

/// The command: entrypoint and arguments, each from the options or else from the image.
fn args(image: &ImageConfig, options: &Options) -> Result<Vec<String>, Error> {
    let (entrypoint, own) = match &options.entrypoint {
        Some(entrypoint) => (entrypoint, &[][..]),
        None => (&image.entrypoint, &image.cmd[..]),
    };
    let tail = if options.args.is_empty() { own } else { &options.args };
    let args: Vec<String> = entrypoint.iter().chain(tail).cloned().collect();
    if args.first().is_none_or(String::is_empty) { Err(Error::NoCommand) } else { Ok(args) }
}

/// The environment: `base`, over which the options win, with a PATH and, on a terminal, a TERM.
fn environment(base: &[String], options: &Options) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut merged: Vec<String> = Vec::new();
    if !base.iter().any(|entry| name(entry) == "PATH") {
        merged.push(defaults::PATH_ENV.to_owned());
    }
    if options.terminal && !base.iter().any(|entry| name(entry) == "TERM") {
        merged.push("TERM=xterm".to_owned());
    }
    for entry in base.iter().chain(&options.env) {
        let same = merged.iter().position(|have| name(have) == name(entry));
        match (same, entry.contains('=')) {
            (Some(at), true) => merged[at].clone_from(entry),
            (Some(at), false) => {
                merged.remove(at);
            }
            (None, true) => merged.push(entry.clone()),
            (None, false) => {}
        }
    }
    merged
}

fn cwd(image: &ImageConfig, options: &Options) -> Result<PathBuf, Error> {
    match &options.cwd {
        Some(cwd) => absolute("working directory", Path::new(cwd)),
        None => Ok(Path::new("/").join(&image.working_dir)),
    }
}

fn absolute(what: &'static str, path: &Path) -> Result<PathBuf, Error> {
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(Error::RelativePath { what, path: path.to_owned() })
    }
}

/// Default mounts, then temporary file systems, then binds; a later one for the same place
/// replaces an earlier one.
fn mounts(options: &Options) -> Result<Vec<Mount>, Error> {
    let mut mounts = defaults::mounts(options.privileged);
    for tmpfs in &options.tmpfs {
        let base = ["nosuid", "nodev", "noexec"].map(str::to_owned);
        let target = absolute("mount target", &tmpfs.target)?;
        let all = base.into_iter().chain(tmpfs.options.iter().cloned());
        replace(&mut mounts, defaults::mount(target, "tmpfs", "tmpfs", all));
    }
    for bind in &options.binds {
        replace(&mut mounts, bind_mount(bind)?);
    }
    Ok(mounts)
}

fn bind_mount(bind: &BindMount) -> Result<Mount, Error> {
    let source = absolute("mount source", &bind.source)?;
    let target = absolute("mount target", &bind.target)?;
    let propagation = match bind.propagation.as_str() {
        "" => "rprivate",
        given => given,
    };
    let access = if bind.read_only { "ro" } else { "rw" };
    let options = ["rbind", propagation, access].map(str::to_owned);
    Ok(defaults::mount(target, "bind", source, options))
}

fn replace(mounts: &mut Vec<Mount>, mount: Mount) {
    mounts.retain(|other| other.destination() != mount.destination());
    mounts.push(mount);
}

fn namespaces(options: &Options) -> Vec<LinuxNamespace> {
    let mut namespaces = defaults::namespaces();
    match &options.network {
        Network::Host => {}
        Network::Private => namespaces.push(defaults::namespace(LinuxNamespaceType::Network)),
        Network::Path(path) => {
            let mut network = defaults::namespace(LinuxNamespaceType::Network);
            network.set_path(Some(path.clone()));
            namespaces.push(network);
        }
    }
    if options.private_cgroup {
        namespaces.push(defaults::namespace(LinuxNamespaceType::Cgroup));
    }
    namespaces
}

fn cgroups_path(options: &Options) -> PathBuf {
    let default = || Path::new("/").join(&options.namespace).join(&options.id);
    options.cgroups_path.clone().unwrap_or_else(default)
}

fn resources(options: &Options) -> Result<LinuxResources, Error> {
    let rules =
        if options.privileged { devices::all_devices_allowed() } else { devices::default_rules() };
    let mut resources = LinuxResources::default();
    resources
        .set_devices(Some(rules))
        .set_memory(memory(&options.limits)?)
        .set_cpu(cpu(&options.limits)?);
    if let Some(limit) = options.limits.pids {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources.set_pids(Some(pids));
    }
    Ok(resources)
}

fn memory(limits: &Limits) -> Result<Option<LinuxMemory>, Error> {
    if limits.memory.is_none() && limits.memory_swap.is_none() {
        return Ok(None);
    }
    let out_of_range =
        |value: &u64| Error::LimitOutOfRange { what: "memory", value: value.to_string() };
    let bytes = limits.memory.map(|bytes| i64::try_from(bytes).map_err(|_| out_of_range(&bytes)));
    let mut memory = LinuxMemory::default();
    memory.set_limit(bytes.transpose()?).set_swap(limits.memory_swap);
    Ok(Some(memory))
}

fn cpu(limits: &Limits) -> Result<Option<LinuxCpu>, Error> {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(limits.cpu_shares).set_cpus(limits.cpuset.clone());
    if let Some(cpus) = limits.cpus {
        // The kernel takes no quota under a millisecond.
        if !(0.01..=100_000.0).contains(&cpus) {
            return Err(Error::LimitOutOfRange { what: "cpus", value: cpus.to_string() });
        }
        #[expect(clippy::cast_possible_truncation, reason = "the range was checked just above")]
        let quota = (cpus * 100_000.0).round() as i64;
        cpu.set_quota(Some(quota)).set_period(Some(CPU_PERIOD));
    }
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn add_devices(linux: &mut Linux, options: &Options) -> Result<(), Error> {
    for request in &options.devices {
        let (node, rule) = devices::requested(request)?;
        let nodes = linux.devices_mut().get_or_insert_default();
        nodes.retain(|have| have.path() != node.path());
        nodes.push(node);
        let resources = linux.resources_mut().get_or_insert_default();
        resources.devices_mut().get_or_insert_default().push(rule);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
