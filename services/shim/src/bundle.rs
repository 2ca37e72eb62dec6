//! The files of a bundle that the shim reads and writes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use berth_proto::containerd::runc::v1::Options;
use prost_types::Any;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Where runc keeps its state when nobody says otherwise, as containerd has it.
pub(crate) const RUNC_ROOT: &str = "/run/containerd/runc";
const OPTIONS: &str = "options.json";

/// Annotations that make containers share a shim, in order of precedence.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// What the shim needs of `config.json`.
#[derive(Default, Deserialize)]
pub(crate) struct Spec {
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
    #[serde(default)]
    linux: Option<Linux>,
}

#[derive(Default, Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Option<Vec<Namespace>>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Spec {
    /// Reads the spec of a bundle.
    pub(crate) fn read(bundle: &Path) -> Result<Spec, Error> {
        let path = bundle.join("config.json");
        let text = fs_err::read(&path)?;
        serde_json::from_slice(&text).map_err(Error::invalid(path.display().to_string()))
    }

    /// Reads the spec of a bundle that may be a sandbox's: that need not have one.
    pub(crate) fn read_if_there(bundle: &Path) -> Result<Spec, Error> {
        match std::fs::exists(bundle.join("config.json")) {
            Ok(false) => Ok(Spec::default()),
            _ => Spec::read(bundle),
        }
    }

    /// The group of containers that one shim serves.
    pub(crate) fn group(&self) -> Option<&str> {
        let annotations = self.annotations.as_ref()?;
        GROUPS.iter().find_map(|key| annotations.get(*key)).map(String::as_str)
    }

    /// Whether the kernel ends all processes of the container together with its first.
    pub(crate) fn own_pid_namespace(&self) -> bool {
        let namespaces = self.linux.as_ref().and_then(|linux| linux.namespaces.as_ref());
        namespaces.is_some_and(|all| all.iter().any(|one| one.kind == "pid" && one.path.is_empty()))
    }
}

/// The options that cleaning up after a dead shim needs; names as containerd's shim writes them.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub binary_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub root: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub systemd_cgroup: bool,
}

impl Kept {
    pub(crate) fn of(options: &Options) -> Kept {
        Kept {
            binary_name: options.binary_name.clone(),
            root: options.root.clone(),
            systemd_cgroup: options.systemd_cgroup,
        }
    }

    pub(crate) fn write(&self, bundle: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec(self).map_err(Error::invalid(OPTIONS))?;
        fs_err::write(bundle.join(OPTIONS), text)?;
        fs_err::write(bundle.join("runtime"), &self.binary_name)?;
        Ok(())
    }

    /// What was written; nothing when the bundle never got that far.
    pub(crate) fn read(bundle: &Path) -> Result<Kept, Error> {
        match fs_err::read(bundle.join(OPTIONS)) {
            Ok(text) => serde_json::from_slice(&text).map_err(Error::invalid(OPTIONS)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// runc's root for a namespace.
    pub(crate) fn runc_root(&self, namespace: &str) -> PathBuf {
        let root = if self.root.is_empty() { RUNC_ROOT } else { &self.root };
        Path::new(root).join(namespace)
    }
}

/// runc's options in an Any; the defaults for none, and for those of other runtimes' making.
pub(crate) fn options(any: Option<&Any>) -> Result<Options, Error> {
    match any.and_then(berth_proto::unpack::<Options>) {
        Some(options) => options.map_err(Error::invalid("runtime options")),
        None => match any {
            Some(any) if !any.value.is_empty() => Err(Error::Invalid {
                what: format!("runtime options of type {:?}", any.type_url),
                reason: "containerd.runc.v1.Options are understood".into(),
            }),
            _ => Ok(Options::default()),
        },
    }
}

/// A process id that runc wrote.
pub(crate) fn read_pid(path: &Path) -> Result<i32, Error> {
    let text = fs_err::read_to_string(path)?;
    text.trim().parse().map_err(Error::invalid(path.display().to_string()))
}
