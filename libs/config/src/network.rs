//! The table of networks, with its defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, HumanDuration};

/// `[network]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Configurations of the networks that pods are attached by; the first file in the order of names is theirs.
    pub conf_dir: PathBuf,
    /// Folders of plugins.
    pub bin_dirs: Vec<PathBuf>,
    /// How many configurations of `conf_dir` count; 0: all.
    pub max_conf_num: usize,
    /// Nobody but this node attaches to the networks of `conf_dir`: their plugins are asked to collect what is left.
    pub gc_conf_dir: bool,
    /// How long one plugin may take for one thing.
    pub plugin_timeout: HumanDuration,
    /// What `berth network create` chooses subnets from: IPv4 in parts of /24, IPv6 in parts of /64.
    pub pools: Vec<String>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            max_conf_num: 1,
            gc_conf_dir: false,
            plugin_timeout: HumanDuration::secs(60),
            pools: vec!["10.89.0.0/16".into(), "fd62:6572:7468::/48".into()],
        }
    }
}

impl Network {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self { plugin_timeout, .. } = self;
        if plugin_timeout.is_zero() {
            let value = plugin_timeout.to_string();
            return Err(Error::Range { key: "network.plugin_timeout", value, rule: "above 0s" });
        }
        Ok(())
    }
}
