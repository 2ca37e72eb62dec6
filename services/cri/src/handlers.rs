//! What pods are run by: the runtime of a handler's name, and its options.

use berth_config::{Cri, Handler};
use berth_cri_spec as spec;
use berth_proto::runtime::v1::{NamespaceMode, PodSandboxConfig};

use serde_json::{Value, json};

use crate::peers::Packed;
use crate::{Error, Result};

/// The annotation of pods that nobody trusts.
const UNTRUSTED: &str = "io.kubernetes.cri.untrusted-workload";
/// Their handler.
const UNTRUSTED_HANDLER: &str = "untrusted";

/// The handler that a pod asks for, and its name.
///
/// # Errors
/// [`Error::Refused`].
pub fn of<'a>(
    cri: &'a Cri,
    id: &str,
    asked: &str,
    config: &PodSandboxConfig,
) -> Result<(&'a str, &'a Handler)> {
    let is_untrusted = config.annotations.get(UNTRUSTED).is_some_and(|value| value == "true");
    let name = match asked {
        "" | UNTRUSTED_HANDLER if is_untrusted => UNTRUSTED_HANDLER,
        _ if is_untrusted => {
            let why = "untrusted workload with explicit runtime handler is not allowed";
            return Err(refused(id, why));
        }
        "" => &cri.default_runtime_name,
        asked => asked,
    };
    if is_untrusted && shares_with_host(config) {
        return Err(refused(id, "untrusted workload with host access is not allowed"));
    }
    let none = || refused(id, &format!("no runtime for {name:?} is configured"));
    let (name, handler) = cri.runtimes.get_key_value(name).ok_or_else(none)?;
    Ok((name, handler))
}

/// What root file systems of a pod are made by: what its handler says, or the configuration of all.
///
/// # Errors
/// [`Error::Refused`] for a handler that is not there.
pub fn snapshotter<'a>(
    cri: &'a Cri,
    id: &str,
    handler: &str,
    config: &PodSandboxConfig,
) -> Result<&'a str> {
    let (name, _) = of(cri, id, handler, config)?;
    Ok(cri.snapshotter_of(name))
}

/// What specifications depend on of a handler, but for what they begin with.
#[must_use]
pub fn facts(handler: &Handler) -> spec::Handler {
    spec::Handler {
        pod_annotations: handler.pod_annotations.clone(),
        container_annotations: handler.container_annotations.clone(),
        privileged_without_host_devices: handler.privileged_without_host_devices,
        privileged_without_host_devices_all_devices_allowed: handler
            .privileged_without_host_devices_all_devices_allowed,
        cgroup_writable: handler.cgroup_writable,
        ..spec::Handler::default()
    }
}

/// What they depend on of the rest of the configuration.
#[must_use]
pub fn settings(cri: &Cri) -> spec::Settings {
    spec::Settings {
        enable_unprivileged_ports: cri.enable_unprivileged_ports,
        enable_unprivileged_icmp: cri.enable_unprivileged_icmp,
        restrict_oom_score_adj: cri.restrict_oom_score_adj,
        disable_apparmor: cri.disable_apparmor,
        disable_proc_mount: cri.disable_proc_mount,
        unset_seccomp_profile: cri.unset_seccomp_profile.clone(),
        tolerate_missing_hugetlb_controller: cri.tolerate_missing_hugetlb_controller,
        disable_hugetlb_controller: cri.disable_hugetlb_controller,
        device_ownership_from_security_context: cri.device_ownership_from_security_context,
        ignore_blockio: cri.ignore_blockio_not_enabled_errors,
        ignore_rdt: cri.ignore_rdt_not_enabled_errors,
        enable_cdi: cri.enable_cdi,
        cdi_spec_dirs: cri.cdi_spec_dirs.clone(),
    }
}

/// Whether it is in a namespace of the node's.
fn shares_with_host(config: &PodSandboxConfig) -> bool {
    let options = spec::pod_options(config);
    [options.network(), options.pid(), options.ipc()].contains(&NamespaceMode::Node)
}

fn refused(id: &str, why: &str) -> Error {
    Error::Refused(format!("unable to get OCI runtime for sandbox {id:?}: {why}"))
}

/// What its shim is told; nothing where all is as usual.
#[must_use]
pub fn options(handler: &Handler) -> Option<Packed> {
    let told = options_with(handler, (handler.io_uid, handler.io_gid));
    // Of what is as usual nothing is written.
    Some(told).filter(|told| !told.value.is_empty())
}

/// The same for a process whose streams belong to this user and group of the node, as far as its shim can be told.
#[must_use]
pub fn options_with(handler: &Handler, owner: (u32, u32)) -> Packed {
    match handler.has_own_options() {
        true => Packed::of_another_shim(handler),
        false => Packed::runc(handler, owner),
    }
}

/// The same for people, under the names that containerd's clients look for.
#[must_use]
pub fn shown_options(handler: &Handler) -> Value {
    if handler.has_own_options() {
        return json!({
            "type_url": handler.options_type,
            "config_path": handler.options_path,
            "config_body": handler.options_body,
        });
    }
    json!({
        "binary_name": handler.binary,
        "root": handler.binary_root,
        "systemd_cgroup": handler.systemd_cgroup,
        "no_new_keyring": handler.no_new_keyring,
        "shim_cgroup": handler.shim_cgroup,
        "io_uid": handler.io_uid,
        "io_gid": handler.io_gid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cri() -> Cri {
        let other = Handler { systemd_cgroup: true, ..Handler::default() };
        let mut cri = Cri::default();
        cri.runtimes.insert("other".into(), other);
        cri
    }

    #[test]
    fn a_pod_gets_the_handler_that_it_names_or_the_usual_one() {
        let (cri, plain) = (cri(), PodSandboxConfig::default());
        assert_eq!(options(of(&cri, "p", "", &plain).unwrap().1), None);
        assert!(options(of(&cri, "p", "other", &plain).unwrap().1).is_some());
        let none = of(&cri, "p", "x", &plain).unwrap_err().to_string();
        assert_eq!(
            none,
            "unable to get OCI runtime for sandbox \"p\": no runtime for \"x\" is configured"
        );
    }

    #[test]
    fn what_a_handler_says_of_specifications_is_passed_on() {
        let usual = facts(&Handler::default());
        let pod_annotations = vec!["a/*".to_owned()];
        let with = |set: fn(&mut Handler)| {
            let mut handler = Handler::default();
            set(&mut handler);
            facts(&handler)
        };
        let of_pod = with(|handler| handler.pod_annotations = vec!["a/*".into()]);
        assert_eq!(of_pod, spec::Handler { pod_annotations, ..usual.clone() });
        let container_annotations = vec!["b".to_owned()];
        let of_container = with(|handler| handler.container_annotations = vec!["b".into()]);
        assert_eq!(of_container, spec::Handler { container_annotations, ..usual.clone() });
        let without = with(|handler| handler.privileged_without_host_devices = true);
        let expected = spec::Handler { privileged_without_host_devices: true, ..usual.clone() };
        assert_eq!(without, expected);
        let all =
            with(|handler| handler.privileged_without_host_devices_all_devices_allowed = true);
        let expected = spec::Handler {
            privileged_without_host_devices_all_devices_allowed: true,
            ..usual.clone()
        };
        assert_eq!(all, expected);
        let writable = with(|handler| handler.cgroup_writable = true);
        assert_eq!(writable, spec::Handler { cgroup_writable: true, ..usual });
    }

    #[test]
    fn a_shim_that_is_none_of_runc_is_told_its_own_options() {
        let handler = Handler {
            runtime_type: "io.containerd.kata.v2".into(),
            options_path: "/opt/kata.toml".into(),
            io_uid: 7,
            ..Handler::default()
        };
        let told = options(&handler).unwrap();
        assert_eq!(told, Packed::of_another_shim(&handler));
        assert_eq!(options_with(&handler, (1, 2)), told);
        let runcs = Handler { io_uid: 7, ..Handler::default() };
        assert_eq!(options(&runcs), Some(Packed::runc(&Handler::default(), (7, 0))));
    }

    #[test]
    fn a_pod_that_nobody_trusts_gets_its_own_or_none() {
        let (cri, mut pod) = (cri(), PodSandboxConfig::default());
        pod.annotations.insert(UNTRUSTED.into(), "true".into());
        let explicit = of(&cri, "p", "other", &pod).unwrap_err().to_string();
        assert!(explicit.ends_with("explicit runtime handler is not allowed"), "{explicit}");
        let none = of(&cri, "p", "", &pod).unwrap_err().to_string();
        assert!(none.ends_with("no runtime for \"untrusted\" is configured"), "{none}");
    }
}
