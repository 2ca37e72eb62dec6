//! What a document changes about a container, as documents have it.

use serde::{Deserialize, Deserializer};

/// Changes of a specification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Edits {
    #[serde(deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) device_nodes: Vec<DeviceNode>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) net_devices: Vec<NetDevice>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) hooks: Vec<Hook>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) mounts: Vec<Mount>,
    pub(crate) intel_rdt: Option<IntelRdt>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) additional_gids: Vec<u32>,
}

/// A device of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DeviceNode {
    pub path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub host_path: String,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub major: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub minor: i64,
    #[serde(default)]
    pub file_mode: Option<u32>,
    #[serde(default, deserialize_with = "or_default")]
    pub permissions: String,
    #[serde(default)]
    pub uid: Option<u32>,
    #[serde(default)]
    pub gid: Option<u32>,
}

/// An interface of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NetDevice {
    pub host_interface_name: String,
    pub name: String,
}

/// A program that is run at a point of a container's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Hook {
    pub hook_name: String,
    pub path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub env: Vec<String>,
    #[serde(default)]
    pub timeout: Option<i64>,
}

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mount {
    pub host_path: String,
    pub container_path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub options: Vec<String>,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: String,
}

/// A share of the processor's caches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct IntelRdt {
    #[serde(rename = "closID", deserialize_with = "or_default")]
    pub clos_id: String,
    #[serde(deserialize_with = "or_default")]
    pub l3_cache_schema: String,
    #[serde(deserialize_with = "or_default")]
    pub mem_bw_schema: String,
    #[serde(deserialize_with = "or_default")]
    pub schemata: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub enable_monitoring: bool,
}

/// Points of a container's life.
const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
/// Kinds of devices; empty: as it is on the machine.
const KINDS: [&str; 5] = ["", "b", "c", "u", "p"];
/// What a device may be used for that may be used for nothing.
pub(crate) const NOTHING: &str = "none";

impl Edits {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes others in, behind its own.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.env.extend_from_slice(&other.env);
        self.device_nodes.extend_from_slice(&other.device_nodes);
        self.net_devices.extend_from_slice(&other.net_devices);
        self.hooks.extend_from_slice(&other.hooks);
        self.mounts.extend_from_slice(&other.mounts);
        self.additional_gids.extend_from_slice(&other.additional_gids);
        if other.intel_rdt.is_some() {
            self.intel_rdt.clone_from(&other.intel_rdt);
        }
    }

    /// What is wrong with them, whatever container they are for.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_variables(&self.env)?;
        for node in &self.device_nodes {
            let is_use = node.permissions == NOTHING
                || node.permissions.bytes().all(|letter| b"rwm".contains(&letter));
            if node.path.is_empty() || !KINDS.contains(&&*node.kind) || !is_use {
                return Err(format!("device {:?} has no path, or no such type or use", node.path));
            }
        }
        for hook in &self.hooks {
            if !HOOKS.contains(&&*hook.hook_name) || hook.path.is_empty() {
                return Err(format!("hook {:?} is none, or without a path", hook.hook_name));
            }
            check_variables(&hook.env)?;
        }
        if self.mounts.iter().any(|m| m.host_path.is_empty() || m.container_path.is_empty()) {
            return Err("a mount is without a path".to_owned());
        }
        let is_class = |id: &str| {
            let plain = id.len() < 4096 && ![".", ".."].contains(&id);
            id == "/" || (plain && !id.contains(['/', '\n']))
        };
        if self.intel_rdt.as_ref().is_some_and(|rdt| !is_class(&rdt.clos_id)) {
            return Err("closID is no name".to_owned());
        }
        let mut names = std::collections::HashSet::new();
        let unique = |net: &NetDevice| {
            let (host, name) = (&net.host_interface_name, &net.name);
            let there = !host.is_empty() && !name.is_empty();
            there && names.insert((true, host.clone())) && names.insert((false, name.clone()))
        };
        let all = self.net_devices.iter().all(unique);
        if all { Ok(()) } else { Err("a net device is without a name, or there twice".to_owned()) }
    }
}

fn check_variables(env: &[String]) -> Result<(), String> {
    let wrong = |variable: &&String| variable.find('=').is_none_or(|at| at == 0);
    match env.iter().find(wrong) {
        Some(variable) => Err(format!("invalid environment variable {variable:?}")),
        None => Ok(()),
    }
}

/// What is null is empty, as elsewhere where Go reads.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
