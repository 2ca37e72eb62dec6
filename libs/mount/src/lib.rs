//! Mounts as containerd describes them: a type, a source and fstab-like options.
//!
//! Owns: the translation of such a description to system calls ([`mount_all`]), undoing it
//! ([`unmount_all`]), and the kernel's list of mounts ([`mountinfo`]). Must not know: what is
//! mounted (snapshots, volumes), any wire type, or any async runtime; every call blocks.
//!
//! Small on purpose: the shim links it, and there is one shim per container.

mod attempt;
mod erofs;
mod error;
mod idmap;
mod looped;
mod loops;
mod mapping;
pub mod mountinfo;
mod mounting;
mod options;
mod overlay;
mod place;
mod plain;
mod temporary;
mod unmounting;

pub use error::Error;
pub use loops::{LoopDevice, LoopOptions};
pub use mounting::mount_all;
pub use temporary::TempMount;
pub use unmounting::{unmount_all, unmount_beneath};

use serde::{Deserialize, Serialize};

/// One mount, as snapshotters give it and as clients pass it on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The file system's name (`overlay`, `tmpfs`), or `bind`.
    pub kind: String,
    /// What is mounted: a directory for `bind`, a device or any word for others.
    pub source: String,
    /// Where below the common target, if not at the target itself.
    pub target: String,
    /// Flags (`ro`, `rbind`, `nosuid`) and the file system's own options, in order.
    pub options: Vec<String>,
}

impl Mount {
    /// Whether the mount leaves its target read-only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.options.iter().any(|option| option == "ro")
    }

    /// The value of the option `key=value`, the last one if there are several.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&str> {
        let value = |option: &'_ str| -> Option<usize> {
            option.strip_prefix(key)?.strip_prefix('=').map(str::len)
        };
        self.options.iter().rev().find_map(|o| value(o).map(|length| &o[o.len() - length..]))
    }

    /// The same mount with nothing writable: an overlay's upper directory becomes its topmost
    /// lower one and its map of owners goes, anything else gets `ro`.
    #[must_use]
    pub fn read_only(&self) -> Mount {
        let mut mount = self.clone();
        if self.kind == "overlay" {
            // Owners as they are on disk: the map is of the lower directories alone, and would now
            // be of what was the upper one as well.
            let goes = ["upperdir=", "workdir=", "uidmap=", "gidmap="];
            mount.options.retain(|o| !goes.iter().any(|key| o.starts_with(key)));
            if let Some(upper) = self.option("upperdir") {
                for option in &mut mount.options {
                    if let Some(lowers) = option.strip_prefix("lowerdir=") {
                        *option = format!("lowerdir={upper}:{lowers}");
                    }
                }
            }
        }
        mount.options.retain(|o| o != "rw" && o != "ro");
        mount.options.push("ro".to_owned());
        mount
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_overlay_shows_its_upper_directory_on_top() {
        let options = [
            "workdir=/w",
            "upperdir=/u",
            "lowerdir=/b:/a",
            "index=off",
            "uidmap=0:1:1",
            "gidmap=0:1:1",
        ];
        let mount = Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            options: options.map(str::to_owned).to_vec(),
            ..Mount::default()
        };
        assert_eq!(mount.option("upperdir"), Some("/u"));
        assert_eq!(mount.option("upper"), None);
        let read_only = mount.read_only();
        assert_eq!(read_only.options, ["lowerdir=/u:/b:/a", "index=off", "ro"]);
        assert!(read_only.is_read_only());
    }
}
