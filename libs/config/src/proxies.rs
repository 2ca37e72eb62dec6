//! `[proxy_plugins.NAME]`: parts of the engine that are processes of others, named as containerd
//! names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, HumanDuration};

/// One program behind a socket. Keys are containerd's, but for `snapshotter` and `timeout`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyPlugin {
    /// What it serves: `snapshot`, or `io.containerd.snapshotter.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its socket, a path or `unix://` and a path.
    pub address: String,
    /// The platform that it is for, `OS/ARCHITECTURE`; this one if it is empty.
    #[serde(default)]
    pub platform: String,
    /// What clients are told of it.
    #[serde(default)]
    pub exports: BTreeMap<String, String>,
    /// What it can do, for clients.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What a snapshotter calls itself, if not as the table.
    #[serde(default)]
    pub snapshotter: String,
    /// The most that one call may take.
    #[serde(default = "timeout")]
    pub timeout: HumanDuration,
}

fn timeout() -> HumanDuration {
    HumanDuration::secs(60)
}

impl ProxyPlugin {
    /// Whether it serves snapshots.
    #[must_use]
    pub fn is_snapshotter(&self) -> bool {
        matches!(&*self.kind, "snapshot" | "io.containerd.snapshotter.v1")
    }

    /// The path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        Path::new(self.address.strip_prefix("unix://").unwrap_or(&self.address)).to_owned()
    }

    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        let wrong = |key, value: &str, rule| {
            let (name, value) = (name.to_owned(), value.to_owned());
            Err(Error::Proxy { name, key, value, rule })
        };
        if !self.is_snapshotter() {
            return wrong("type", &self.kind, "\"snapshot\": others are not provided yet");
        }
        if !self.socket().is_absolute() {
            return wrong("address", &self.address, "the absolute path of a unix socket");
        }
        // They are parts of paths and of names of kinds.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(plain) {
            return wrong("NAME", name, "letters, digits and -_. alone");
        }
        match name {
            "overlayfs" | "native" | "blockfile" | "btrfs" | "erofs" | "devmapper" | "zfs" => {
                wrong("NAME", name, "another: that one is berth's own")
            }
            _ => Ok(()),
        }
    }
}
