//! `[proxy_plugins.NAME]`: parts of the engine that are processes of others, named as containerd
//! names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, HumanDuration};

/// What a program behind a socket can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// `snapshots.v1.Snapshots`.
    Snapshotter,
    /// `content.v1.Content`.
    Content,
    /// `diff.v1.Diff`.
    Differ,
    /// `sandbox.v1.Controller`.
    SandboxController,
}

impl ProxyKind {
    /// containerd's type of such a plugin.
    pub(crate) fn type_of_plugins(self) -> &'static str {
        match self {
            Self::Snapshotter => "io.containerd.snapshotter.v1",
            Self::Content => "io.containerd.content.v1",
            Self::Differ => "io.containerd.differ.v1",
            Self::SandboxController => "io.containerd.sandbox.controller.v1",
        }
    }

    /// The names of berth's own of this kind.
    fn own(self) -> &'static [&'static str] {
        match self {
            Self::Snapshotter => {
                &["overlayfs", "native", "blockfile", "btrfs", "erofs", "devmapper", "zfs"]
            }
            Self::Content => &["content"],
            Self::Differ => &["walking", "erofs"],
            Self::SandboxController => &["shim", "podsandbox"],
        }
    }
}

/// One program behind a socket. Keys are containerd's, but for `snapshotter`, `sandboxer` and
/// `timeout`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyPlugin {
    /// What it serves: `snapshot`, `content`, `diff` or `sandbox`, or containerd's type of such a
    /// plugin.
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
    /// What a sandbox controller calls itself, if not as the table.
    #[serde(default)]
    pub sandboxer: String,
    /// The most that one call may take; see [`ProxyPlugin::timeout`].
    #[serde(default)]
    pub timeout: Option<HumanDuration>,
}

impl ProxyPlugin {
    /// What it serves, if it is something that berth knows.
    #[must_use]
    pub fn serves(&self) -> Option<ProxyKind> {
        match &*self.kind {
            "snapshot" | "io.containerd.snapshotter.v1" => Some(ProxyKind::Snapshotter),
            "content" | "io.containerd.content.v1" => Some(ProxyKind::Content),
            "diff" | "io.containerd.differ.v1" => Some(ProxyKind::Differ),
            "sandbox" | "io.containerd.sandbox.controller.v1" => Some(ProxyKind::SandboxController),
            _ => None,
        }
    }

    /// The most that one call may take: a minute, or a quarter of an hour for a differ, whose calls
    /// take as long as a layer, if nothing is configured.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        let usual = match self.serves() {
            Some(ProxyKind::Differ) => Duration::from_secs(15 * 60),
            _ => Duration::from_secs(60),
        };
        self.timeout.map_or(usual, |configured| configured.0)
    }

    /// What clients are told of it: its exports, and where it is.
    #[must_use]
    pub fn told(&self) -> BTreeMap<String, String> {
        let mut told = self.exports.clone();
        told.insert("address".to_owned(), self.address.clone());
        told
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
        let Some(kind) = self.serves() else {
            let rule = "\"snapshot\", \"content\", \"diff\" or \"sandbox\"";
            return wrong("type", &self.kind, rule);
        };
        if !self.socket().is_absolute() {
            return wrong("address", &self.address, "the absolute path of a unix socket");
        }
        // They are parts of paths and of names of kinds.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(plain) {
            return wrong("NAME", name, "letters, digits and -_. alone");
        }
        if kind.own().contains(&name) {
            return wrong("NAME", name, "another: that one is berth's own");
        }
        Ok(())
    }
}

/// Checks that what is configured to apply and make layers is there.
pub(crate) fn check_differs(
    names: &[String],
    plugins: &BTreeMap<String, ProxyPlugin>,
) -> Result<(), Error> {
    let wrong = |value: &str, rule| {
        let (key, value) = ("bundle.differs".to_owned(), value.to_owned());
        Err(Error::Value { key, value, rule })
    };
    if names.is_empty() {
        return wrong("[]", "names of differs, one at least");
    }
    let is_differ = |plugin: &ProxyPlugin| plugin.serves() == Some(ProxyKind::Differ);
    let known = |name: &str| name == "walking" || plugins.get(name).is_some_and(is_differ);
    match names.iter().find(|name| !known(name)) {
        Some(unknown) => wrong(unknown, "\"walking\", or a proxy plugin of type \"diff\""),
        None => Ok(()),
    }
}

/// Checks that the content store that is configured is there.
pub(crate) fn check_content_store(
    name: Option<&str>,
    plugins: &BTreeMap<String, ProxyPlugin>,
) -> Result<(), Error> {
    let is_store = |plugin: &ProxyPlugin| plugin.serves() == Some(ProxyKind::Content);
    match name {
        Some(name) if !plugins.get(name).is_some_and(is_store) => Err(Error::Value {
            key: "distribution.content_store".to_owned(),
            value: name.to_owned(),
            rule: "a proxy plugin of type \"content\"",
        }),
        _ => Ok(()),
    }
}
