//! The user namespace that a pod has for itself: whom its users are to the node.

use std::collections::HashMap;

use berth_cri_spec as spec;
use berth_proto::runtime::v1::{NamespaceMode, PodSandboxConfig, UserNamespace};

use crate::peers::snapshots::OWNERS;
use crate::{Error, Result};

/// Ids from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which one of the node's is 0.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// Its users and groups: one range of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users {
    uids: Range,
    gids: Range,
}

impl Users {
    /// Those that a pod asks for; none are the node's.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Spec`] for what is no user namespace.
    pub fn of_pod(id: &str, config: &PodSandboxConfig) -> Result<Option<Self>> {
        let asked = spec::pod_options(config).userns_options;
        let of_network = asked
            .as_ref()
            .filter(|users| users.mode() == NamespaceMode::Pod && !spec::host_network(config));
        // Of what owns a network containerd has other words.
        if let Some(users) = of_network {
            let counts = [("uid", users.uids.len()), ("gid", users.gids.len())];
            if let Some((what, count)) = counts.into_iter().find(|(_, count)| *count != 1) {
                return Err(Error::Refused(format!(
                    "failed to create network namespace for sandbox {id:?}: required only one {what} mapping, \
                     but got {count} {what} mapping(s)"
                )));
            }
        }
        Self::of(asked.as_ref())
    }

    /// Those of a pod's or container's options.
    ///
    /// # Errors
    /// [`Error::Spec`] for what is no user namespace; [`Error::Refused`] for one without root.
    pub fn of(asked: Option<&UserNamespace>) -> Result<Option<Self>> {
        let Some(mappings) = spec::user_mappings(asked)? else { return Ok(None) };
        let missing = |what: &str| {
            let why = format!("user namespace configuration: {what} mapping: 0 is not mapped");
            Error::Refused(why)
        };
        let uid = mappings.uids.iter().find(|one| one.container_id() == 0);
        let gid = mappings.gids.iter().find(|one| one.container_id() == 0);
        let uid = uid.ok_or_else(|| missing("UID"))?;
        let gid = gid.ok_or_else(|| missing("GID"))?;
        let uids = Range { outside: uid.host_id(), size: uid.size() };
        let gids = Range { outside: gid.host_id(), size: gid.size() };
        Ok(Some(Self { uids, gids }))
    }

    /// Which users they are.
    #[must_use]
    pub fn users(&self) -> Range {
        self.uids
    }

    /// Which groups.
    #[must_use]
    pub fn groups(&self) -> Range {
        self.gids
    }

    /// What a root file system is labelled with that is to be theirs.
    #[must_use]
    pub fn labels(&self) -> HashMap<String, String> {
        let value = |Range { outside, size }| format!("0:{outside}:{size}");
        OWNERS.map(String::from).into_iter().zip([self.uids, self.gids].map(value)).collect()
    }

    /// Who a user and a group of the namespace are outside; nobody if they are not of it.
    #[must_use]
    pub fn outside(&self, user: u32, group: u32) -> Option<(u32, u32)> {
        let of = |range: &Range, id: u32| {
            (id < range.size).then(|| range.outside.checked_add(id)).flatten()
        };
        Some((of(&self.uids, user)?, of(&self.gids, group)?))
    }

    /// Who its root is.
    #[must_use]
    pub fn root(&self) -> (u32, u32) {
        (self.uids.outside, self.gids.outside)
    }
}

#[cfg(test)]
mod tests {
    use berth_proto::runtime::v1 as cri;

    use super::*;

    fn pod(
        mode: NamespaceMode,
        network: NamespaceMode,
        ids: &[&[(u32, u32, u32)]],
    ) -> PodSandboxConfig {
        let mappings = |at: usize| {
            let one = |(container_id, host_id, length): &(u32, u32, u32)| cri::IdMapping {
                container_id: *container_id,
                host_id: *host_id,
                length: *length,
            };
            ids.get(at).map(|ids| ids.iter().map(one).collect()).unwrap_or_default()
        };
        let users = UserNamespace { mode: mode.into(), uids: mappings(0), gids: mappings(1) };
        let options = cri::NamespaceOption {
            network: network.into(),
            userns_options: Some(users),
            ..Default::default()
        };
        let security = cri::LinuxSandboxSecurityContext {
            namespace_options: Some(options),
            ..Default::default()
        };
        let linux =
            cri::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
        PodSandboxConfig { linux: Some(linux), ..Default::default() }
    }

    #[test]
    fn a_pod_has_one_range_of_each() {
        use NamespaceMode::{Node, Pod};
        let right: &[&[_]] = &[&[(0, 100_000, 10)], &[(0, 200_000, 20)]];
        for network in [Pod, Node] {
            let users = Users::of_pod("p", &pod(Pod, network, right)).unwrap().unwrap();
            assert_eq!(users.root(), (100_000, 200_000));
            assert_eq!(users.labels()[OWNERS[0]], "0:100000:10");
            assert_eq!(users.labels()[OWNERS[1]], "0:200000:20");
            assert_eq!(users.outside(9, 19), Some((100_009, 200_019)));
            assert_eq!((users.outside(10, 0), users.outside(0, 20)), (None, None));
        }
        assert_eq!(Users::of_pod("p", &pod(Node, Pod, &[])).unwrap(), None);
        assert_eq!(Users::of_pod("p", &PodSandboxConfig::default()).unwrap(), None);
    }

    #[test]
    fn other_words_are_containerds() {
        use NamespaceMode::{Container, Node, Pod};
        let one: &[_] = &[(0, 100_000, 10)];
        let two: &[_] = &[(0, 1, 1), (1, 9, 1)];
        let network = "failed to create network namespace for sandbox \"p\": required only one ";
        let configuration = "user namespace configuration: ";
        for (mode, network, ids, [begin, end]) in [
            (Pod, Pod, [two, one], [network, "uid mapping, but got 2 uid mapping(s)"]),
            (Pod, Pod, [one, &[]], [network, "gid mapping, but got 0 gid mapping(s)"]),
            (
                Pod,
                Node,
                [two, one],
                [
                    configuration,
                    "UID mapping: only one mapping line supported, got 2 mapping lines",
                ],
            ),
            (
                Pod,
                Node,
                [&[], &[]],
                [
                    configuration,
                    "can't use user namespace mode \"POD\" without UID and GID mappings",
                ],
            ),
            (
                Node,
                Pod,
                [one, one],
                [
                    configuration,
                    "can't use user namespace mode \"NODE\" with mappings. Got 1 UID mappings and 1 GID mappings",
                ],
            ),
            (
                Container,
                Pod,
                [one, one],
                [configuration, "unsupported user namespace mode: \"CONTAINER\""],
            ),
            (
                Pod,
                Pod,
                [&[(0, 1, 0)], one],
                [configuration, "UID mapping: invalid mapping length: 0"],
            ),
            (Pod, Pod, [one, &[(1, 1, 1)]], [configuration, "GID mapping: 0 is not mapped"]),
        ] {
            let refused = Users::of_pod("p", &pod(mode, network, &ids)).unwrap_err();
            assert_eq!(refused.to_string(), format!("{begin}{end}"));
        }
    }
}
