//! The table of bundle and those of its snapshotters, with their defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Error};

/// `[bundle]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bundle {
    /// The default snapshotter. Not set: overlayfs where the file system allows it, else native.
    pub snapshotter: Option<String>,
    /// Who applies and makes layers: each is asked in turn until one does not answer UNIMPLEMENTED.
    pub differs: Vec<String>,
    /// Layers that are extracted at once; 0: one per core.
    pub max_concurrent_unpacks: usize,
    /// The most that a layer may be, uncompressed.
    pub max_layer_size: ByteSize,
    /// The most files, directories and links that a layer may have.
    pub max_layer_entries: u64,
    /// The most that the store keeps in memory.
    pub store_cache: ByteSize,
    /// Events that are kept for subscribers that come back.
    pub events: usize,
    /// The snapshotter of this name.
    pub overlayfs: Overlayfs,
    /// The snapshotter of this name.
    pub native: Native,
    /// The snapshotter of this name.
    pub btrfs: Btrfs,
    /// The snapshotter of this name.
    pub blockfile: Blockfile,
    /// The snapshotter of this name.
    pub erofs: Erofs,
}

/// `[bundle.overlayfs]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overlayfs {
    /// Where its snapshots are. Not set: below the node's root.
    pub root_path: Option<PathBuf>,
    /// Snapshots tell in a label where their own files are.
    pub upperdir_label: bool,
    /// A removal waits until the files are deleted.
    pub sync_remove: bool,
    /// Options of each overlay's mount.
    pub mount_options: Vec<String>,
    /// Clients may copy an image with other owners where the kernel cannot show them as others.
    pub slow_chown: bool,
}

/// `[bundle.native]`: keys are containerd's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Native {
    /// Where its snapshots are. Not set: below the node's root.
    pub root_path: Option<PathBuf>,
}

/// `[bundle.btrfs]`: keys are containerd's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Btrfs {
    /// Where its subvolumes are, on a btrfs. Not set: `btrfs` in the service's root.
    pub root_path: Option<PathBuf>,
}

/// `[bundle.blockfile]`: keys are containerd's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Blockfile {
    /// Where its files are. Not set: `blockfile` in the service's root.
    pub root_path: Option<PathBuf>,
    /// A file with an empty file system. Not set: the one that was copied before, if there is one.
    pub scratch_file: Option<PathBuf>,
    /// The file system in it.
    pub fs_type: String,
    /// Options of each mount, besides `loop`.
    pub mount_options: Vec<String>,
    /// The file is copied by each start, not only by the first.
    pub recreate_scratch: bool,
}

/// `[bundle.erofs]`: keys are containerd's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Erofs {
    /// Where its files are. Not set: below the node's root.
    pub root_path: Option<PathBuf>,
    /// Options of each overlay's mount.
    pub ovl_mount_options: Vec<String>,
    /// Options for `mkfs.erofs`.
    pub mkfs_options: Vec<String>,
    /// Images are sealed by fs-verity.
    pub enable_fsverity: bool,
    /// Images get the attribute of immutable files.
    pub set_immutable: bool,
    /// The size of writable layers, which then are files with a file system. Not set: directories.
    pub default_size: Option<ByteSize>,
}

impl Default for Blockfile {
    fn default() -> Self {
        Self {
            root_path: None,
            scratch_file: None,
            fs_type: "ext4".into(),
            mount_options: Vec::new(),
            recreate_scratch: false,
        }
    }
}

impl Default for Bundle {
    fn default() -> Self {
        Self {
            snapshotter: None,
            differs: vec!["walking".into()],
            max_concurrent_unpacks: 0,
            max_layer_size: ByteSize(512 << 30),
            max_layer_entries: 4_000_000,
            store_cache: ByteSize(1 << 20),
            events: 4096,
            overlayfs: Overlayfs::default(),
            native: Native::default(),
            btrfs: Btrfs::default(),
            blockfile: Blockfile::default(),
            erofs: Erofs::default(),
        }
    }
}

impl Bundle {
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (key, path) in [
            ("bundle.overlayfs.root_path", &self.overlayfs.root_path),
            ("bundle.native.root_path", &self.native.root_path),
            ("bundle.btrfs.root_path", &self.btrfs.root_path),
            ("bundle.blockfile.root_path", &self.blockfile.root_path),
            ("bundle.blockfile.scratch_file", &self.blockfile.scratch_file),
            ("bundle.erofs.root_path", &self.erofs.root_path),
        ] {
            if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
                return Err(Error::RelativePath { key, path: path.clone() });
            }
        }
        Ok(())
    }
}
