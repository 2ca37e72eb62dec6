//! overlayfs: a snapshot is a layer, stacked by the kernel on its parents.

use std::path::{Path, PathBuf};

use berth_ids::Labels;
use berth_mount::{Mount, TempMount};
use berth_store::failpoint;

use super::{Kind, Layout, make};
use crate::Error;
use crate::layer::implied;
use crate::snapshots::mapping;

/// The snapshotter's name, as containerd has it.
pub const OVERLAYFS: &str = "overlayfs";

/// The label that tells where a snapshot's own files are.
const UPPERDIR_LABEL: &str = "containerd.io/snapshot/overlay.upperdir";

/// Layers below `layout`.
pub(crate) struct Overlay {
    pub(super) layout: Layout,
    pub(super) userxattr: bool,
    /// Whether the kernel shows owners of lower directories as others.
    pub(super) maps: bool,
    /// Options of each mount, after its directories.
    options: Vec<String>,
    pub(super) settings: OverlaySettings,
}

/// What is configured.
#[derive(Clone, Debug, Default)]
pub struct OverlaySettings {
    /// Where its snapshots are, unless that is below bundle's own root.
    pub root: Option<PathBuf>,
    /// Snapshots tell where their own files are.
    pub upperdir_label: bool,
    /// A removal waits until the files are deleted.
    pub sync_remove: bool,
    /// Options of each mount, such as `volatile`.
    pub mount_options: Vec<String>,
    /// Clients may change the owners of copies where the kernel cannot show them as others.
    pub slow_chown: bool,
}

impl Overlay {
    pub(super) fn new(layout: Layout, settings: OverlaySettings) -> Self {
        let maps = is_mapping_supported(&layout.root);
        let options = options(&settings.mount_options, in_user_namespace());
        let userxattr = options.iter().any(|option| option == "userxattr");
        Self { layout, userxattr, maps, options, settings }
    }

    fn upper(&self, id: u64) -> PathBuf {
        self.layout.path("snapshots", id).join("fs")
    }

    /// The label that a snapshot has of itself, if it is to have one.
    pub(super) fn label(&self, id: u64) -> Option<(&'static str, String)> {
        let value = || self.upper(id).display().to_string();
        self.settings.upperdir_label.then(|| (UPPERDIR_LABEL, value()))
    }

    pub(super) fn create(&self, path: &Path, kind: Kind, parents: &[u64]) -> Result<(), Error> {
        make(path, 0o700)?;
        failpoint::file("overlay", "begun");
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
    pub(super) fn mounts(
        &self,
        id: u64,
        kind: Kind,
        parents: &[u64],
        labels: &Labels,
    ) -> Vec<Mount> {
        let shown = |path: PathBuf| path.display().to_string();
        // What is written belongs to whom it is to belong; what was there is shown so.
        let mut options = match self.maps && !parents.is_empty() {
            true => mapping::options(labels),
            false => Vec::new(),
        };
        let bind = |id, mode: &str, mut options: Vec<String>| {
            options.extend([mode.to_owned(), "rbind".to_owned()]);
            let (kind, source) = ("bind".to_owned(), shown(self.upper(id)));
            vec![Mount { kind, source, target: String::new(), options }]
        };
        match (kind, parents) {
            (Kind::Active, []) => return bind(id, "rw", options),
            (_, []) => return bind(id, "ro", options),
            (Kind::View | Kind::Committed, [only]) => return bind(*only, "ro", options),
            _ => {}
        }
        if kind == Kind::Active {
            let work = self.layout.path("snapshots", id).join("work");
            options.push(format!("workdir={}", shown(work)));
            options.push(format!("upperdir={}", shown(self.upper(id))));
        }
        let lowers: Vec<String> = parents.iter().map(|id| shown(self.upper(*id))).collect();
        options.push(format!("lowerdir={}", lowers.join(":")));
        options.extend(self.options.iter().cloned());
        let overlay = || OVERLAY.to_owned();
        vec![Mount { kind: overlay(), source: overlay(), target: String::new(), options }]
    }
}

/// The options of each mount: what is configured, and what the kernel would do otherwise. Layers
/// are read from upper directories alone, so that a file must be in one whole and under its name.
pub(super) fn options(configured: &[String], in_user_namespace: bool) -> Vec<String> {
    let key = |option: &str| option.split('=').next().unwrap_or_default().to_owned();
    let mut options = configured.to_vec();
    let is_set = |wanted: &str, options: &[String]| options.iter().any(|o| key(o) == wanted);
    if in_user_namespace && !is_set("userxattr", &options) {
        options.push("userxattr".to_owned());
    }
    let parameter =
        |name: &str| fs_err::read_to_string(format!("/sys/module/overlay/parameters/{name}")).ok();
    turn_off(&mut options, parameter);
    options
}

/// Turns off what the kernel's module would do by default, as far as nothing is configured of it.
fn turn_off(options: &mut Vec<String>, parameter: impl Fn(&str) -> Option<String>) {
    for name in ["index", "metacopy", "redirect_dir"] {
        let value = parameter(name);
        let wanted = match name {
            // Also where it is off: containerd's option is there wherever the kernel knows it.
            "index" => value.is_some(),
            _ => value.is_some_and(|value| value.trim() == "Y"),
        };
        let is_set = options.iter().any(|option| option.split('=').next() == Some(name));
        if wanted && !is_set {
            options.push(format!("{name}=off"));
        }
    }
}

/// Whether the kernel shows owners of an overlay's lower directories as others: it makes one and
/// looks.
pub(super) fn is_mapping_supported(root: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let probe = |probe: &Path| -> Result<u32, Error> {
        for part in ["", "lower", "upper", "work"] {
            make(&probe.join(part), 0o755)?;
        }
        let file = probe.join("lower/file");
        let failed = |source| Error::File { step: "make", path: file.clone(), source };
        fs_err::write(&file, "").map_err(failed)?;
        let at = |part: &str| probe.join(part).display().to_string();
        let options = vec![
            "uidmap=0:1:2".to_owned(),
            "gidmap=0:1:2".to_owned(),
            format!("lowerdir={}", at("lower")),
            format!("upperdir={}", at("upper")),
            format!("workdir={}", at("work")),
            "volatile".to_owned(),
        ];
        let (kind, source) = (OVERLAY.to_owned(), OVERLAY.to_owned());
        let mount = Mount { kind, source, target: String::new(), options };
        let mounted = TempMount::new(&[mount], probe, "merged")?;
        Ok(fs_err::metadata(mounted.path().join("file")).map_err(failed)?.uid())
    };
    let path = root.join("probe");
    let shown = probe(&path);
    // What is left is cleared away by the next probe, of overlays.
    let _ = fs_err::remove_dir_all(&path);
    match shown {
        Ok(owner) => owner == 1,
        Err(error) => {
            let error = berth_errors::chain(&error);
            tracing::debug!(error, "the kernel shows no owners as others here");
            false
        }
    }
}

/// The file system's name.
const OVERLAY: &str = "overlay";

/// Whether this process is in a user namespace of its own, where `trusted.` attributes are out of
/// reach.
pub(super) fn in_user_namespace() -> bool {
    let map = fs_err::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_ascii_whitespace();
    !map.is_empty() && fields.nth(2) != Some("4294967295")
}

/// Why overlayfs does not work there, if it does not. What has snapshots had it before: a disk that
/// is full by now, with no room to try it, is not to hide them.
pub(super) fn refuses_overlays(layout: &Layout) -> Result<Option<Error>, Error> {
    if layout.is_used()? {
        return Ok(None);
    }
    match is_supported(&layout.root) {
        Ok(()) => Ok(None),
        // The kernel's answer; anything else says nothing about overlays.
        Err(why @ Error::Mount(berth_mount::Error::Mount { .. })) => {
            tracing::warn!(error = berth_errors::chain(&why), "no overlayfs here");
            Ok(Some(why))
        }
        Err(error) => Err(error),
    }
}

/// Whether the file system below `root` carries overlays: it makes one and looks.
///
/// # Errors
/// What failed.
fn is_supported(root: &Path) -> Result<(), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(options: &[&str]) -> Vec<String> {
        options.iter().map(|option| (*option).to_owned()).collect()
    }

    #[test]
    fn what_the_kernel_would_do_by_default_is_turned_off() {
        let with = |configured: &[&str], known: &[(&str, &str)]| {
            let mut options = owned(configured);
            turn_off(&mut options, |name| {
                let found = known.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| format!("{value}\n"))
            });
            options
        };
        assert_eq!(with(&[], &[]), owned(&[]), "a kernel that knows none of them");
        let off = [("index", "N"), ("metacopy", "N"), ("redirect_dir", "N")];
        assert_eq!(with(&["volatile"], &off), owned(&["volatile", "index=off"]));
        let on = [("index", "Y"), ("metacopy", "Y"), ("redirect_dir", "Y")];
        let all = owned(&["index=off", "metacopy=off", "redirect_dir=off"]);
        assert_eq!(with(&[], &on), all);
        let configured = ["index=on", "metacopy=on", "redirect_dir=follow"];
        assert_eq!(with(&configured, &on), owned(&configured), "what is configured counts");
    }

    #[test]
    fn attributes_are_users_in_a_user_namespace() {
        let has = |configured: &[&str], inside| {
            let options = options(&owned(configured), inside);
            options.iter().filter(|option| *option == "userxattr").count()
        };
        assert_eq!((has(&[], false), has(&[], true)), (0, 1));
        assert_eq!((has(&["userxattr"], false), has(&["userxattr"], true)), (1, 1));
    }
}
