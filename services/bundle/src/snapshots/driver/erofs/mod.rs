//! erofs: a committed snapshot is one EROFS image, an active one an overlay's upper directory on
//! those of its parents.
//!
//! A snapshot's directory has, named as containerd names them: `layer.erofs`, the image; `fs`, the
//! upper directory, of a committed one empty and with the attributes of the image's root; `work`;
//! `rwlayer.img`, the file with the file system that both are in if writable layers have a size;
//! `.erofslayer`, while it is active.

mod protect;
mod seal;
mod usable;

pub(in crate::snapshots) use protect::thaw;

use std::path::{Path, PathBuf};

use berth_ids::Labels;
use berth_mount::Mount;
use tokio::sync::Semaphore;

use super::{Kind, Layout, make};
use crate::Error;
use crate::erofs::{BLOB, MARK};
use crate::layer::implied;
use crate::snapshots::mapping;

/// The snapshotter's name, as containerd has it.
pub const EROFS: &str = "erofs";

/// The upper directory.
const UPPER: &str = "fs";

/// The overlay's own directory.
const WORK: &str = "work";

/// The file with a writable layer of a size.
const WRITABLE: &str = "rwlayer.img";

/// How many bytes the writable layer of one snapshot may have.
const MAX_SIZE: &str = "containerd.io/snapshot/max-size";

/// What is configured.
#[derive(Clone, Debug, Default)]
pub struct ErofsSettings {
    /// Where its directories are, if not below the node's root.
    pub root: Option<PathBuf>,
    /// Options of each overlay's mount.
    pub mount_options: Vec<String>,
    /// Options for `mkfs.erofs`.
    pub mkfs_options: Vec<String>,
    /// Images are sealed by fs-verity.
    pub fsverity: bool,
    /// Images cannot be removed or changed by accident.
    pub immutable: bool,
    /// Bytes of a writable layer, which then is a file with a file system; 0: a directory.
    pub writable: u64,
}

/// Images below `layout`.
pub(crate) struct Erofs {
    pub(super) layout: Layout,
    /// Whether the kernel shows owners of lower directories as others.
    pub(super) maps: bool,
    /// Options of each overlay.
    pub(super) options: Vec<String>,
    pub(super) settings: ErofsSettings,
    /// Held while an image is made: that takes memory for each of its files.
    making: Semaphore,
}

impl Erofs {
    fn at(&self, id: u64, name: &str) -> PathBuf {
        self.layout.path("snapshots", id).join(name)
    }

    /// Whether writable layers are files with a file system.
    fn has_size(&self) -> bool {
        self.settings.writable > 0
    }

    pub(super) fn create(&self, path: &Path, kind: Kind, parents: &[u64]) -> Result<(), Error> {
        make(path, 0o700)?;
        let upper = path.join(UPPER);
        make(&upper, 0o755)?;
        if kind == Kind::Active {
            if !self.has_size() {
                make(&path.join(WORK), 0o711)?;
            }
            let mark = path.join(MARK);
            let failed = |source| Error::File { step: "make", path: mark.clone(), source };
            fs_err::write(&mark, "").map_err(failed)?;
        }
        // The topmost directory is the one that is seen: it takes after its parent's.
        let lowers: Vec<PathBuf> = parents.iter().take(1).map(|id| self.at(*id, UPPER)).collect();
        implied::adopt(&upper, &[Vec::new()], &lowers).map_err(|(_, errno)| Error::File {
            step: "copy the parent's attributes to",
            path: upper.clone(),
            source: errno.into(),
        })
    }

    /// containerd's mounts, option for option: images, and an overlay that names them by their
    /// number.
    pub(super) fn mounts(
        &self,
        id: u64,
        kind: Kind,
        parents: &[u64],
        labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        self.check_sealed(parents)?;
        let mapped = match self.maps && !parents.is_empty() {
            true => mapping::options(labels),
            false => Vec::new(),
        };
        let mut mounts = Vec::with_capacity(parents.len() + 2);
        match (kind, parents) {
            (_, []) if self.has_image(id) => return Ok(vec![self.image(id)]),
            (Kind::Active, []) => return Ok(self.alone(id, "rw", labels)),
            (_, []) => return Ok(self.alone(id, "ro", labels)),
            (Kind::View | Kind::Committed, [only]) if mapped.is_empty() => {
                return Ok(vec![self.image(*only)]);
            }
            _ => {}
        }
        let mut options = Vec::new();
        if kind == Kind::Active {
            options = self.writable(id, labels, &mut mounts);
        }
        let first = mounts.len();
        mounts.extend(parents.iter().map(|id| self.image(*id)));
        options.extend(mapped);
        if kind != Kind::Active && parents.len() == 1 {
            options.extend(["ro", "rbind"].map(str::to_owned));
            mounts.push(mount("format/bind", format!("{{{{ mount {first} }}}}"), options));
            return Ok(mounts);
        }
        options.push(match parents.len() {
            1 => format!("lowerdir={{{{ mount {first} }}}}"),
            _ => format!("lowerdir={{{{ overlay {first} {} }}}}", mounts.len() - 1),
        });
        options.extend(self.options.iter().cloned());
        mounts.push(mount("format/mkdir/overlay", "overlay".to_owned(), options));
        Ok(mounts)
    }

    /// The mounts of a snapshot without parents and without an image.
    fn alone(&self, id: u64, mode: &str, labels: &Labels) -> Vec<Mount> {
        let bind = |kind: &str, source: String, before: Vec<String>| {
            let options = before.into_iter().chain([mode.to_owned(), "rbind".to_owned()]);
            mount(kind, source, options.collect())
        };
        // Nothing is written to a view: it needs no file system, and none could be made in it.
        if !self.has_size() || mode == "ro" {
            let source = self.at(id, UPPER).display().to_string();
            return vec![bind("bind", source, Vec::new())];
        }
        let upper = "{{ mount 0 }}/upper";
        let made = vec![format!("X-containerd.mkdir.path={upper}:0755")];
        vec![self.disk(id, mode, labels), bind("format/mkdir/bind", upper.to_owned(), made)]
    }

    /// An overlay's options for what is written, and what has to be mounted for it.
    fn writable(&self, id: u64, labels: &Labels, mounts: &mut Vec<Mount>) -> Vec<String> {
        let shown = |name| self.at(id, name).display().to_string();
        if !self.has_size() {
            let (work, upper) = (shown(WORK), shown(UPPER));
            return vec![format!("workdir={work}"), format!("upperdir={upper}")];
        }
        mounts.push(self.disk(id, "rw", labels));
        let (work, upper) = ("{{ mount 0 }}/work", "{{ mount 0 }}/upper");
        vec![
            format!("X-containerd.mkdir.path={upper}:0755"),
            format!("X-containerd.mkdir.path={work}:0755"),
            format!("workdir={work}"),
            format!("upperdir={upper}"),
        ]
    }

    /// The mount of a writable layer of the size that is configured, or that the label asks for.
    fn disk(&self, id: u64, mode: &str, labels: &Labels) -> Mount {
        let asked = labels.get(MAX_SIZE).and_then(|size| size.parse().ok());
        let size: u64 = asked.filter(|size| *size > 0).unwrap_or(self.settings.writable);
        let options = vec![
            "X-containerd.mkfs.fs=ext4".to_owned(),
            format!("X-containerd.mkfs.size={size}"),
            mode.to_owned(),
            "loop".to_owned(),
        ];
        mount("mkfs/ext4", self.at(id, WRITABLE).display().to_string(), options)
    }

    /// The mount of an image.
    fn image(&self, id: u64) -> Mount {
        let options = vec!["ro".to_owned(), "loop".to_owned()];
        mount("erofs", self.at(id, BLOB).display().to_string(), options)
    }
}

fn mount(kind: &str, source: String, options: Vec<String>) -> Mount {
    Mount { kind: kind.to_owned(), source, target: String::new(), options }
}
