//! overlayfs: a snapshot is a layer, stacked by the kernel on its parents.

use std::path::{Path, PathBuf};

use berth_mount::{Mount, TempMount};

use super::{Kind, Layout, make};
use crate::Error;
use crate::layer::implied;

/// The snapshotter's name, as containerd has it.
pub const OVERLAYFS: &str = "overlayfs";

/// Layers below `layout`.
pub(crate) struct Overlay {
    pub(super) layout: Layout,
    pub(super) userxattr: bool,
    index_off: bool,
}

impl Overlay {
    pub(super) fn new(layout: Layout) -> Self {
        let index_off = Path::new("/sys/module/overlay/parameters/index").exists();
        Self { layout, userxattr: in_user_namespace(), index_off }
    }

    fn upper(&self, id: u64) -> PathBuf {
        self.layout.path("snapshots", id).join("fs")
    }

    pub(super) fn create(&self, path: &Path, kind: Kind, parents: &[u64]) -> Result<(), Error> {
        make(path, 0o700)?;
        let upper = path.join("fs");
        make(&upper, 0o755)?;
        if kind == Kind::Active {
            make(&path.join("work"), 0o711)?;
        }
        // The topmost directory is the one that is seen: it takes after its parent's.
        let lowers: Vec<PathBuf> = parents.iter().take(1).map(|id| self.upper(*id)).collect();
        implied::adopt(&upper, &[Vec::new()], &lowers).map_err(|(_, errno)| Error::File {
            step: "copy the parent's attributes to",
            path: upper.clone(),
            source: errno.into(),
        })
    }

    /// containerd's mounts, option for option: clients compare and store them.
    pub(super) fn mounts(&self, id: u64, kind: Kind, parents: &[u64]) -> Vec<Mount> {
        let shown = |path: PathBuf| path.display().to_string();
        let bind = |id, mode: &str| {
            vec![Mount {
                kind: "bind".to_owned(),
                source: shown(self.upper(id)),
                target: String::new(),
                options: vec![mode.to_owned(), "rbind".to_owned()],
            }]
        };
        match (kind, parents) {
            (Kind::Active, []) => return bind(id, "rw"),
            (_, []) => return bind(id, "ro"),
            (Kind::View | Kind::Committed, [only]) => return bind(*only, "ro"),
            _ => {}
        }
        let mut options = Vec::new();
        if kind == Kind::Active {
            let work = self.layout.path("snapshots", id).join("work");
            options.push(format!("workdir={}", shown(work)));
            options.push(format!("upperdir={}", shown(self.upper(id))));
        }
        let lowers: Vec<String> = parents.iter().map(|id| shown(self.upper(*id))).collect();
        options.push(format!("lowerdir={}", lowers.join(":")));
        if self.userxattr {
            options.push("userxattr".to_owned());
        }
        if self.index_off {
            options.push("index=off".to_owned());
        }
        let overlay = || OVERLAY.to_owned();
        vec![Mount { kind: overlay(), source: overlay(), target: String::new(), options }]
    }
}

/// The file system's name.
const OVERLAY: &str = "overlay";

/// Whether this process is in a user namespace of its own, where `trusted.` attributes are out of
/// reach.
fn in_user_namespace() -> bool {
    let map = fs_err::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_ascii_whitespace();
    !map.is_empty() && fields.nth(2) != Some("4294967295")
}

/// Whether the file system below `root` carries overlays: it makes one and looks.
///
/// # Errors
/// What failed.
pub(super) fn is_supported(root: &Path) -> Result<(), Error> {
    let probe = root.join("probe");
    let clear = || match fs_err::remove_dir_all(&probe) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { step: "remove the probe", path: probe.clone(), source: error })
        }
        _ => Ok(()),
    };
    berth_mount::unmount_beneath(&probe)?;
    clear()?;
    for part in ["", "lower1", "lower2", "upper", "work"] {
        make(&probe.join(part), 0o700)?;
    }
    let at = |part: &str| probe.join(part).display().to_string();
    let mut options = vec![
        format!("lowerdir={}:{}", at("lower2"), at("lower1")),
        format!("upperdir={}", at("upper")),
        format!("workdir={}", at("work")),
        // Else unmounting it writes back all that the file system has to write.
        "volatile".to_owned(),
    ];
    if in_user_namespace() {
        options.push("userxattr".to_owned());
    }
    let overlay = Mount {
        kind: OVERLAY.to_owned(),
        source: OVERLAY.to_owned(),
        target: String::new(),
        options,
    };
    let mounted = TempMount::new(&[overlay], &probe, "merged").map(drop);
    clear()?;
    Ok(mounted?)
}
