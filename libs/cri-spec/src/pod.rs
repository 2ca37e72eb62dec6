//! The spec of a pod's own process, whose namespaces its containers join.

use std::path::Path;

use berth_runtime_spec::{RootView, Spec, base_mount};

use crate::cgroups::cgroups_path;
use crate::cri::NamespaceMode;
use crate::draft::{Draft, cpu};
use crate::namespaces::{host_network, pod_options, user_mappings};
use crate::{
    Error, PodFacts, annotations, cri, namespaces, process, resources, seccomp, selinux, users,
};

/// The weight of a pod's own process, which has nothing to do.
const CPU_SHARES: u64 = 2;

/// Its score for the kernel's choice of whom to kill: nearly never.
const OOM_SCORE: i64 = -998;

/// How its files are bound; in a user namespace the kernel insists on most of it.
const BOUND: [&str; 5] = ["rbind", "ro", "nosuid", "nodev", "noexec"];

/// How /sys is bound where the kernel lets nobody mount it anew.
const SYS_BOUND: [&str; 5] = ["rbind", "rro", "nosuid", "nodev", "noexec"];

const UNPRIVILEGED_PORTS: &str = "net.ipv4.ip_unprivileged_port_start";
const PING_GROUPS: &str = "net.ipv4.ping_group_range";

/// The spec of a pod's own process, which looks up its user in `root`.
///
/// # Errors
/// [`Error`] when the request asks for what cannot be.
pub fn pod(
    config: &cri::PodSandboxConfig,
    facts: &PodFacts<'_>,
    root: &RootView,
) -> Result<Spec, Error> {
    if config.metadata.is_none() {
        return Err(Error::NoPodMetadata);
    }
    annotations::check(&config.annotations)?;
    let linux = config.linux.clone().unwrap_or_default();
    let security = linux.security_context.clone().unwrap_or_default();
    let mut draft = Draft::begin(None, &cgroups_path(&linux.cgroup_parent, facts.id));
    program(&mut draft, facts)?;
    namespaces::of_pod(&mut draft.linux, config, facts)?;
    if !host_network(config) {
        draft.set_hostname(&config.hostname);
    }
    mounts(&mut draft, config, facts)?;
    if security.privileged {
        draft.make_writable(&["sysfs"]);
    }
    draft.linux.set_sysctl(Some(sysctls(config, facts)?));
    cpu(draft.resources()).set_shares(Some(CPU_SHARES));
    let score = resources::oom_score(OOM_SCORE, facts.settings, facts.node)?;
    draft.process.set_oom_score_adj(Some(score));

    let options = security.selinux_options.as_ref();
    let labels = selinux::selinux_labels(&facts.selinux, options, "")?;
    if let Some(labels) = labels {
        draft.linux.set_mount_label(Some(labels.mount));
        draft.process.set_selinux_label((!security.privileged).then_some(labels.process));
    }
    if !security.privileged {
        let filter = filter(&security, facts, &draft)?;
        draft.linux.set_seccomp(filter);
    }
    let asked = users::Asked {
        uid: security.run_as_user.map(|user| user.value),
        gid: security.run_as_group.map(|group| group.value),
        groups: &security.supplemental_groups,
        ..Default::default()
    };
    let user = users::of_pod(draft.process.user(), asked, &facts.image.user, root)?;
    draft.process.set_user(user);
    annotations::of_pod(config, facts, &mut draft.annotations);
    Ok(draft.end())
}

/// Runs what the image says, or ours; its files are never written to.
fn program(draft: &mut Draft, facts: &PodFacts<'_>) -> Result<(), Error> {
    let image = facts.image;
    let args: Vec<String> = image.entrypoint.iter().chain(&image.cmd).cloned().collect();
    if args.is_empty() {
        return Err(Error::NoPodCommand(facts.image_name.to_owned()));
    }
    draft.process.set_args(Some(args)).set_env(Some(image.env.clone())).set_rlimits(None);
    if let Some(cwd) = process::working_directory("", image) {
        draft.process.set_cwd(cwd);
    }
    draft.root.set_path(facts.root.clone()).set_readonly(Some(true));
    Ok(())
}

fn mounts(
    draft: &mut Draft,
    config: &cri::PodSandboxConfig,
    facts: &PodFacts<'_>,
) -> Result<(), Error> {
    let shm = Path::new("/dev/shm");
    let shared = pod_options(config).ipc() == NamespaceMode::Node;
    draft.without_mount(shm);
    let source = if shared { shm } else { &facts.shm };
    draft.mounts.push(base_mount(shm, "bind", source, &BOUND));
    let resolv_conf = Path::new("/etc/resolv.conf");
    draft.mounts.push(base_mount(resolv_conf, "bind", &facts.resolv_conf, &BOUND));
    bind_sys(draft, config)
}

/// In the node's network, but not among its users, nobody may mount a sysfs: the node's is bound.
pub(crate) fn bind_sys(draft: &mut Draft, config: &cri::PodSandboxConfig) -> Result<(), Error> {
    let users = user_mappings(pod_options(config).userns_options.as_ref())?;
    if users.is_some() && host_network(config) {
        let sys = Path::new("/sys");
        draft.without_mount(sys);
        draft.mounts.push(base_mount(sys, "bind", sys, &SYS_BOUND));
    }
    Ok(())
}

/// The kernel's settings for the pod: the request's, and what spares programs capabilities.
fn sysctls(
    config: &cri::PodSandboxConfig,
    facts: &PodFacts<'_>,
) -> Result<std::collections::HashMap<String, String>, Error> {
    let mut sysctls = config.linux.as_ref().map(|linux| linux.sysctls.clone()).unwrap_or_default();
    if host_network(config) {
        return Ok(sysctls);
    }
    if facts.settings.enable_unprivileged_ports {
        sysctls.entry(UNPRIVILEGED_PORTS.to_owned()).or_insert_with(|| "0".to_owned());
    }
    let users = user_mappings(pod_options(config).userns_options.as_ref())?;
    // The range has groups that no user namespace maps.
    let everybody = users.is_none() && !facts.node.in_user_namespace;
    if facts.settings.enable_unprivileged_icmp && everybody {
        sysctls.entry(PING_GROUPS.to_owned()).or_insert_with(|| "0 2147483647".to_owned());
    }
    Ok(sysctls)
}

fn filter(
    security: &cri::LinuxSandboxSecurityContext,
    facts: &PodFacts<'_>,
    draft: &Draft,
) -> Result<Option<oci_spec::runtime::LinuxSeccomp>, Error> {
    let capabilities = draft.process.capabilities().as_ref();
    let bounding = capabilities.and_then(|all| all.bounding().clone()).unwrap_or_default();
    let (asked, path) = (security.seccomp.as_ref(), &security.seccomp_profile_path);
    let unset = &facts.settings.unset_seccomp_profile;
    Ok(seccomp::filter(asked, path, unset, &bounding, facts.node)?)
}

#[cfg(test)]
mod tests;
