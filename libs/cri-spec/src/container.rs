//! The spec of a container.

use berth_runtime_spec::{RootView, Spec};
use oci_spec::runtime::LinuxNamespaceType;

use crate::cgroups::cgroups_path;
use crate::draft::Draft;
use crate::error::bounded;
use crate::{
    ContainerFacts, Error, annotations, capabilities, cdi, cri, devices, mounts, namespaces, pod,
    process, resources, seccomp, security, selinux, users,
};

/// How many paths are masked, or read-only, and how many variables a request has.
const MAX_PATHS: usize = 4096;
const MAX_VARIABLES: usize = 65_536;

/// The spec of a container, but for its user, which [`finish`] adds.
///
/// Missing host paths of mounts are made.
///
/// # Errors
/// [`Error`] when the request asks for what cannot be.
pub fn container(
    config: &cri::ContainerConfig,
    pod: &cri::PodSandboxConfig,
    facts: &ContainerFacts<'_>,
) -> Result<Spec, Error> {
    check(config, pod)?;
    let asked = security_of(config);
    let labels =
        selinux::selinux_labels(&facts.selinux, asked.selinux_options.as_ref(), facts.pod_label)?;
    let parent = pod.linux.as_ref().map_or("", |linux| &linux.cgroup_parent);
    let path = cgroups_path(parent, facts.id);
    let mut draft = Draft::begin(facts.handler.base.as_ref(), &path);
    draft.root.set_path("rootfs".into());
    if facts.handler.base.is_none() {
        draft.process.set_rlimits(None);
    }
    program(&mut draft, config, pod, facts)?;
    if facts.node.unified && !asked.privileged {
        namespaces::set(&mut draft.linux, LinuxNamespaceType::Cgroup, None);
    }
    mounts::apply(&mut draft, config, facts, labels.as_ref().map(|labels| &*labels.mount))?;
    if !facts.settings.disable_proc_mount {
        draft.linux.set_masked_paths(Some(asked.masked_paths.clone()));
        draft.linux.set_readonly_paths(Some(asked.readonly_paths.clone()));
    }
    devices::apply(&mut draft, config, facts)?;
    let set = asked.capabilities.as_ref();
    capabilities::apply(&mut draft.process, set, asked.privileged)?;
    if asked.privileged {
        privileged(&mut draft, pod, facts)?;
    }
    if let Some(labels) = labels {
        draft.linux.set_mount_label(Some(labels.mount));
        // The policy says what such a program becomes.
        draft.process.set_selinux_label((!asked.privileged).then_some(labels.process));
    }
    draft.process.set_no_new_privileges(Some(asked.no_new_privs));
    if asked.readonly_rootfs {
        draft.root.set_readonly(Some(true));
    }
    limits(&mut draft, config, facts)?;
    annotations::refuse_classes(config, pod, facts)?;
    namespaces::of_container(&mut draft.linux, config, pod, facts)?;
    pod::bind_sys(&mut draft, pod)?;
    profiles(&mut draft, &asked, facts)?;
    annotations::of_container(config, pod, facts, &mut draft.annotations);
    Ok(draft.end())
}

/// Gives a spec the user and the groups that the request asks for, or else the image's, looked up
/// in the root file system; and then the devices of vendors that it asks for.
///
/// # Errors
/// [`Error`] when there is no such user or device, or a number is out of range.
pub fn finish(
    spec: &mut Spec,
    config: &cri::ContainerConfig,
    facts: &ContainerFacts<'_>,
    root: &RootView,
) -> Result<(), Error> {
    let security = security_of(config);
    let asked = users::Asked {
        name: &security.run_as_username,
        uid: security.run_as_user.map(|user| user.value),
        gid: security.run_as_group.map(|group| group.value),
        groups: &security.supplemental_groups,
        policy: security.supplemental_groups_policy,
    };
    let process = spec.process_mut().get_or_insert_default();
    let user = users::of_container(process.user(), asked, &facts.image.user, root)?;
    process.set_user(user);
    cdi::apply(spec, config, facts.settings)
}

fn security_of(config: &cri::ContainerConfig) -> cri::LinuxContainerSecurityContext {
    let linux = config.linux.as_ref();
    linux.and_then(|linux| linux.security_context.clone()).unwrap_or_default()
}

/// What is wrong whatever the rest says.
fn check(config: &cri::ContainerConfig, pod: &cri::PodSandboxConfig) -> Result<(), Error> {
    if config.metadata.is_none() {
        return Err(Error::NoContainerMetadata);
    }
    if pod.metadata.is_none() {
        return Err(Error::NoMetadataOfPod);
    }
    crate::stop_signal(config.stop_signal)?;
    annotations::check(&pod.annotations)?;
    annotations::check(&config.annotations)?;
    let security = security_of(config);
    bounded("masked paths", security.masked_paths.len(), MAX_PATHS)?;
    bounded("read-only paths", security.readonly_paths.len(), MAX_PATHS)?;
    bounded("environment variables", config.envs.len(), MAX_VARIABLES)
}

fn program(
    draft: &mut Draft,
    config: &cri::ContainerConfig,
    pod: &cri::PodSandboxConfig,
    facts: &ContainerFacts<'_>,
) -> Result<(), Error> {
    let own = !pod.hostname.is_empty();
    let hostname = if own { &pod.hostname } else { &facts.node.hostname };
    process::apply(&mut draft.process, config, facts.image, hostname)
}

/// Takes away what keeps a program from the node, if its pod is allowed that.
fn privileged(
    draft: &mut Draft,
    pod: &cri::PodSandboxConfig,
    facts: &ContainerFacts<'_>,
) -> Result<(), Error> {
    let of_pod = pod.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    if !of_pod.is_some_and(|security| security.privileged) {
        return Err(Error::NotPrivileged);
    }
    draft.linux.set_masked_paths(None).set_readonly_paths(None).set_seccomp(None);
    draft.process.set_apparmor_profile(None).set_selinux_label(None);
    draft.make_writable(&["sysfs", "cgroup"]);
    devices::privileged(draft, facts)
}

fn limits(
    draft: &mut Draft,
    config: &cri::ContainerConfig,
    facts: &ContainerFacts<'_>,
) -> Result<(), Error> {
    let Some(asked) = config.linux.as_ref().and_then(|linux| linux.resources.as_ref()) else {
        return Ok(());
    };
    resources::apply(draft.resources(), asked, facts.settings, facts.node)?;
    let score = resources::oom_score(asked.oom_score_adj, facts.settings, facts.node)?;
    draft.process.set_oom_score_adj(Some(score));
    Ok(())
}

/// What the kernel lets the program do beside its capabilities.
fn profiles(
    draft: &mut Draft,
    asked: &cri::LinuxContainerSecurityContext,
    facts: &ContainerFacts<'_>,
) -> Result<(), Error> {
    let list = facts.node.apparmor.as_deref().filter(|_| !facts.settings.disable_apparmor);
    let (profile, text) = (asked.apparmor.as_ref(), &asked.apparmor_profile);
    if let Some(name) = security::apparmor(profile, text, asked.privileged, list)? {
        draft.process.set_apparmor_profile(Some(name));
    }
    if asked.privileged {
        return Ok(());
    }
    let capabilities = draft.process.capabilities().as_ref();
    let bounding = capabilities.and_then(|all| all.bounding().clone()).unwrap_or_default();
    let (profile, path) = (asked.seccomp.as_ref(), &asked.seccomp_profile_path);
    let unset = &facts.settings.unset_seccomp_profile;
    if let Some(filter) = seccomp::filter(profile, path, unset, &bounding, facts.node)? {
        draft.linux.set_seccomp(Some(filter));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
