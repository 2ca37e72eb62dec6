//! Whether a machine has SELinux, and which labels its policy has for containers.

use std::io;
use std::path::{Path, PathBuf};

use berth_mount::mountinfo;

use crate::files::{read, value};
use crate::{Label, NotALabel};

/// Labels that are the same for all policies; they count before the policy's own.
const SHARED: &str = "usr/share/containers/selinux/contexts";
/// Where policies are, and which of them is used.
const POLICIES: &str = "etc/selinux";
/// A policy's labels for containers.
const OF_CONTAINERS: &str = "contexts/lxc_contexts";
/// What a process's label is as long as there is no policy.
const WITHOUT_POLICY: &str = "kernel";

/// The labels that containers begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Of processes.
    pub process: Label,
    /// Of files that they may change.
    pub files: Label,
    /// Of files that all of them may read and run.
    pub shared: Label,
}

/// Why there are no labels.
#[derive(Debug, thiserror::Error)]
pub enum Off {
    /// There is no SELinux, or it was turned off when the machine started.
    #[error("the kernel has it off")]
    Kernel,
    /// It is there for others to look at, as in a container.
    #[error("{0:?} is mounted read-only here")]
    ReadOnly(PathBuf),
    /// It has nothing to go by yet.
    #[error("no policy is loaded")]
    NoPolicy,
    /// The policy knows no containers.
    #[error("{path:?} names no label {key:?} for containers: is container-selinux installed?")]
    NoLabel {
        /// The file.
        path: PathBuf,
        /// The name of the label.
        key: &'static str,
    },
    /// The policy's label is none.
    #[error("{path:?}: {label}")]
    NotALabel {
        /// The file.
        path: PathBuf,
        /// What it says.
        label: NotALabel,
    },
    /// A file cannot be read.
    #[error("{path:?} cannot be read ({source}): is container-selinux installed?")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel's list of mounts cannot be read.
    #[error("list mounts: {0}")]
    Mounts(#[from] berth_mount::Error),
}

/// The labels of containers on the machine whose root folder this is.
///
/// # Errors
/// [`Off`] where no labels are to be used.
pub fn look(root: &Path) -> Result<Labels, Off> {
    let table = root.join("proc/self/mountinfo");
    let Ok(table) = read(&table) else { return Err(Off::Kernel) };
    let mounts = mountinfo::parse(table.as_bytes())?;
    let mut of_it = mounts.into_iter().filter(|mount| mount.kind == "selinuxfs");
    let mount = of_it.next_back().ok_or(Off::Kernel)?;
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    if read_only(&mount.options) || read_only(&mount.super_options) {
        return Err(Off::ReadOnly(mount.mount_point));
    }
    let own = root.join("proc/self/attr/current");
    let current = read(&own).map_err(unreadable(&own))?;
    if current.trim_end_matches(['\0', '\n']) == WITHOUT_POLICY {
        return Err(Off::NoPolicy);
    }
    labels(root)
}

fn labels(root: &Path) -> Result<Labels, Off> {
    let shared = root.join(SHARED);
    let (path, text) = match read(&shared) {
        Ok(text) => (shared, text),
        Err(_) => {
            let path = root.join(POLICIES).join(policy(root)?).join(OF_CONTAINERS);
            let text = read(&path).map_err(unreadable(&path))?;
            (path, text)
        }
    };
    let find = |key: &'static str| {
        let Some(text) = value(&text, key).filter(|text| !text.is_empty()) else {
            return Err(Off::NoLabel { path: path.clone(), key });
        };
        text.parse::<Label>().map_err(|label| Off::NotALabel { path: path.clone(), label })
    };
    let (process, files) = (find("process")?, find("file")?);
    let shared = match find("ro_file") {
        // Without one all may read what has no categories.
        Err(Off::NoLabel { .. }) => files.at("s0"),
        found => found?,
    };
    Ok(Labels { process, files, shared })
}

/// The name of the policy that is used: a folder's.
fn policy(root: &Path) -> Result<String, Off> {
    let path = root.join(POLICIES).join("config");
    let text = read(&path).map_err(unreadable(&path))?;
    let name = value(&text, "SELINUXTYPE").unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(Off::NoLabel { path, key: "SELINUXTYPE" });
    }
    Ok(name.to_owned())
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Off {
    let path = path.to_owned();
    move |source| Off::Unreadable { path, source }
}

#[cfg(test)]
mod tests;
