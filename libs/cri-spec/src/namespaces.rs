//! Which namespaces a pod has, and which of them its containers join.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType as Type,
};

use crate::cri::NamespaceMode as Mode;
use crate::{ContainerFacts, Error, PodFacts, cri};

/// The ids of a user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mappings {
    /// Of users; one.
    pub uids: Vec<LinuxIdMapping>,
    /// Of groups; one.
    pub gids: Vec<LinuxIdMapping>,
}

/// The mappings that a pod or container asks for; none are the node's ids.
///
/// # Errors
/// [`Error::UserNamespace`].
pub fn user_mappings(asked: Option<&cri::UserNamespace>) -> Result<Option<Mappings>, Error> {
    let Some(asked) = asked else { return Ok(None) };
    let wrong = Error::UserNamespace;
    let uids = mapping(&asked.uids).map_err(|fault| wrong(format!("UID mapping: {fault}")))?;
    let gids = mapping(&asked.gids).map_err(|fault| wrong(format!("GID mapping: {fault}")))?;
    match Mode::try_from(asked.mode) {
        Ok(Mode::Node) if uids.is_empty() && gids.is_empty() => Ok(None),
        Ok(Mode::Node) => Err(wrong(format!(
            "can't use user namespace mode \"NODE\" with mappings. Got {} UID mappings and {} GID mappings",
            uids.len(),
            gids.len()
        ))),
        Ok(Mode::Pod) if uids.is_empty() || gids.is_empty() => Err(wrong(
            "can't use user namespace mode \"POD\" without UID and GID mappings".to_owned(),
        )),
        Ok(Mode::Pod) => Ok(Some(Mappings { uids, gids })),
        _ => Err(wrong(format!("unsupported user namespace mode: {:?}", mode_name(asked.mode)))),
    }
}

fn mapping(asked: &[cri::IdMapping]) -> Result<Vec<LinuxIdMapping>, String> {
    match asked {
        [] => Ok(Vec::new()),
        [one] if one.length < 1 => Err(format!("invalid mapping length: {}", one.length)),
        [one] => Ok(vec![id_mapping(one)]),
        more => Err(format!("only one mapping line supported, got {} mapping lines", more.len())),
    }
}

/// A mapping as specs have it.
pub(crate) fn id_mapping(of: &cri::IdMapping) -> LinuxIdMapping {
    let mapping = LinuxIdMappingBuilder::default().host_id(of.host_id);
    let mapping = mapping.container_id(of.container_id).size(of.length).build();
    mapping.expect("every field of a mapping has a default")
}

fn mode_name(mode: i32) -> String {
    Mode::try_from(mode).map_or_else(|_| mode.to_string(), |mode| mode.as_str_name().to_owned())
}

/// The namespaces of a pod's own process, by what the pod shares with the node.
pub(crate) fn of_pod(
    linux: &mut Linux,
    config: &cri::PodSandboxConfig,
    facts: &PodFacts<'_>,
) -> Result<(), Error> {
    let options = pod_options(config);
    let users = user_mappings(options.userns_options.as_ref())?;
    let network = host_network(config);
    if network {
        remove(linux, Type::Network);
        remove(linux, Type::Uts);
    } else {
        set(linux, Type::Network, facts.netns.as_deref());
    }
    if options.pid() == Mode::Node {
        remove(linux, Type::Pid);
    }
    if options.ipc() == Mode::Node {
        remove(linux, Type::Ipc);
    }
    if let Some(users) = users {
        // In the node's network there is no namespace whose owner it has to be.
        let owner = facts.userns.as_deref().filter(|_| !network);
        set(linux, Type::User, owner);
        map(linux, users);
    }
    Ok(())
}

/// A container joins those of its pod's own process, but for that of the mounts, and for that of
/// the processes if it asks for its own, or for another container's.
pub(crate) fn of_container(
    linux: &mut Linux,
    config: &cri::ContainerConfig,
    pod: &cri::PodSandboxConfig,
    facts: &ContainerFacts<'_>,
) -> Result<(), Error> {
    let options = container_options(config);
    let users = user_mappings(options.userns_options.as_ref())?;
    let of_pod = pod_options(pod).userns_options;
    let same = match (&of_pod, &options.userns_options) {
        (Some(one), Some(other)) => {
            one.mode == other.mode && user_mappings(of_pod.as_ref()).ok() == Some(users.clone())
        }
        (one, other) => one.is_none() && other.is_none(),
    };
    if !same {
        let (pod, container) = (shown(&of_pod), shown(&options.userns_options));
        return Err(Error::UserNamespaceDiffers { pod, container });
    }
    let processes = match options.pid() {
        Mode::Target => {
            let target = || Error::NoTarget(options.target_id.clone());
            facts.target_pid.ok_or_else(target)?
        }
        _ => facts.pod_pid,
    };
    let of = |pid: u32, name: &str| PathBuf::from(format!("/proc/{pid}/ns/{name}"));
    for (kind, name) in [(Type::Network, "net"), (Type::Ipc, "ipc"), (Type::Uts, "uts")] {
        set(linux, kind, Some(&of(facts.pod_pid, name)));
    }
    if options.pid() != Mode::Container {
        set(linux, Type::Pid, Some(&of(processes, "pid")));
    }
    if let Some(users) = users {
        let own = options.pid() == Mode::Container || options.pid() == Mode::Target;
        leave_to_node(linux, &pod_options(pod), own);
        set(linux, Type::User, Some(&of(facts.pod_pid, "user")));
        map(linux, users);
    }
    Ok(())
}

/// Who is in a user namespace already may not join what the node's users own, and runc enters that one first (before
/// 1.2): it stays in what it was started in, which is the node's too.
fn leave_to_node(linux: &mut Linux, of_pod: &cri::NamespaceOption, own_processes: bool) {
    if of_pod.network() == Mode::Node {
        remove(linux, Type::Network);
        remove(linux, Type::Uts);
    }
    if of_pod.ipc() == Mode::Node {
        remove(linux, Type::Ipc);
    }
    if of_pod.pid() == Mode::Node && !own_processes {
        remove(linux, Type::Pid);
    }
}

/// Whether a pod is in the node's network.
#[must_use]
pub fn host_network(config: &cri::PodSandboxConfig) -> bool {
    pod_options(config).network() == Mode::Node
}

/// What a pod says of its namespaces.
#[must_use]
pub fn pod_options(config: &cri::PodSandboxConfig) -> cri::NamespaceOption {
    let linux = config.linux.as_ref();
    let security = linux.and_then(|linux| linux.security_context.as_ref());
    security.and_then(|security| security.namespace_options.clone()).unwrap_or_default()
}

/// What a container says of its namespaces.
#[must_use]
pub fn container_options(config: &cri::ContainerConfig) -> cri::NamespaceOption {
    let linux = config.linux.as_ref();
    let security = linux.and_then(|linux| linux.security_context.as_ref());
    security.and_then(|security| security.namespace_options.clone()).unwrap_or_default()
}

/// Has a namespace of a kind: the one at a path, or a new one.
pub(crate) fn set(linux: &mut Linux, kind: Type, path: Option<&Path>) {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind).set_path(path.map(Path::to_owned));
    let namespaces = linux.namespaces_mut().get_or_insert_default();
    match namespaces.iter_mut().find(|have| have.typ() == kind) {
        Some(have) => *have = namespace,
        None => namespaces.push(namespace),
    }
}

fn remove(linux: &mut Linux, kind: Type) {
    linux.namespaces_mut().get_or_insert_default().retain(|have| have.typ() != kind);
}

fn map(linux: &mut Linux, to: Mappings) {
    linux.set_uid_mappings(Some(to.uids)).set_gid_mappings(Some(to.gids));
}

/// A user namespace as a message shows it.
fn shown(of: &Option<cri::UserNamespace>) -> String {
    let Some(of) = of else { return "<nil>".to_owned() };
    let mut text = format!("mode:{}", mode_name(of.mode));
    for (name, mappings) in [("uids", &of.uids), ("gids", &of.gids)] {
        for one in mappings.iter().take(4) {
            let (host, container, length) = (one.host_id, one.container_id, one.length);
            // Writing to a string does not fail.
            let _ =
                write!(text, " {name}:{{host_id:{host} container_id:{container} length:{length}}}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn ids(lengths: &[u32]) -> Vec<cri::IdMapping> {
        let one = |length: &u32| cri::IdMapping { host_id: 7, container_id: 0, length: *length };
        lengths.iter().map(one).collect()
    }

    #[rstest]
    #[case(0, &[1, 1], &[1], "UID mapping: only one mapping line supported, got 2 mapping lines")]
    #[case(0, &[1], &[0], "GID mapping: invalid mapping length: 0")]
    #[case(0, &[1], &[], "can't use user namespace mode \"POD\" without UID and GID mappings")]
    #[case(
        2, &[1], &[],
        "can't use user namespace mode \"NODE\" with mappings. Got 1 UID mappings and 0 GID mappings"
    )]
    #[case(1, &[1], &[1], "unsupported user namespace mode: \"CONTAINER\"")]
    #[case(9, &[1], &[1], "unsupported user namespace mode: \"9\"")]
    fn what_cannot_be_mapped_is_refused(
        #[case] mode: i32,
        #[case] uids: &[u32],
        #[case] gids: &[u32],
        #[case] words: &str,
    ) {
        let asked = cri::UserNamespace { mode, uids: ids(uids), gids: ids(gids) };
        let refused = user_mappings(Some(&asked)).unwrap_err().to_string();
        assert_eq!(refused, format!("user namespace configuration: {words}"));
    }

    #[test]
    fn a_mapping_is_one_range_of_each() {
        assert_eq!(user_mappings(None).unwrap(), None);
        let node = cri::UserNamespace { mode: 2, ..Default::default() };
        assert_eq!(user_mappings(Some(&node)).unwrap(), None);
        let asked = cri::UserNamespace { mode: 0, uids: ids(&[9]), gids: ids(&[8]) };
        let made = user_mappings(Some(&asked)).unwrap().unwrap();
        assert_eq!((made.uids[0].host_id(), made.uids[0].size(), made.gids[0].size()), (7, 9, 8));
    }
}
