//! Overlays with more lower directories than mount(2)'s one page of options holds.
//!
//! Linux 6.7 and newer take each layer by itself (`fsconfig` `lowerdir+`), up to 500 of them.
//! On older kernels the directories are named relative to their common parent, from a thread
//! that has a working directory of its own; that carries about 300 layers.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::Error;
use crate::attempt::{Attempt, classic};
use crate::options::{Flags, Parsed, key_value};

/// What mount(2) copies at most, less some room for what the kernel adds.
const PAGE: usize = 4096 - 512;

/// The longest value fsconfig(2) takes as a string.
const FSCONFIG_STRING: usize = 255;

/// Whether options of this length need another way than mount(2).
pub(crate) fn is_long(data: &str) -> bool {
    data.len() >= PAGE
}

/// Mounts an overlay whose options fill more than a page.
pub(crate) fn mount_long(attempt: &Attempt<'_>, parsed: &Parsed, at: &Path) -> Result<(), Error> {
    let lowers = lower_dirs(&parsed.data);
    let fits = |value: &str| value.len() <= FSCONFIG_STRING;
    let plain = !lowers.iter().any(String::is_empty);
    let short = parsed.data.iter().all(|o| o.starts_with("lowerdir=") || fits(o));
    if plain && short && lowers.iter().all(|l| fits(l)) && by_layer(attempt, parsed, &lowers, at)? {
        return Ok(());
    }
    relative(attempt, parsed, &lowers, at)
}

/// The directories of `lowerdir=`, split at colons that no backslash guards.
pub(crate) fn lower_dirs(data: &[String]) -> Vec<String> {
    let Some(list) = data.iter().find_map(|o| o.strip_prefix("lowerdir=")) else {
        return Vec::new();
    };
    let mut dirs = vec![String::new()];
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        match c {
            ':' => dirs.push(String::new()),
            '\\' => dirs.last_mut().expect("never empty").extend(chars.next()),
            c => dirs.last_mut().expect("never empty").push(c),
        }
    }
    dirs
}

/// The new mount API. False when this kernel does not know it or its `lowerdir+`.
fn by_layer(
    attempt: &Attempt<'_>,
    parsed: &Parsed,
    lowers: &[String],
    at: &Path,
) -> Result<bool, Error> {
    let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        Err(Errno::NOSYS | Errno::PERM) => return Ok(false),
        Err(errno) => return Err(attempt.error("fsopen", errno)),
    };
    let failed = |step: String, errno| {
        let said = kernel_message(&context);
        match said {
            Some(said) => attempt.error_saying(step, errno, said),
            None => attempt.error(step, errno),
        }
    };
    for (n, lower) in lowers.iter().enumerate() {
        match fsconfig_set_string(&context, "lowerdir+", lower.as_str()) {
            Ok(()) => {}
            Err(Errno::INVAL) if n == 0 => return Ok(false),
            Err(errno) => return Err(failed(format!("add lower directory {lower}"), errno)),
        }
    }
    for option in parsed.data.iter().filter(|o| !o.starts_with("lowerdir=")) {
        match key_value(option) {
            Some((key, value)) => fsconfig_set_string(&context, key, value),
            None => fsconfig_set_flag(&context, option.as_str()),
        }
        .map_err(|e| failed(format!("set option {option}"), e))?;
    }
    finish(attempt, parsed, &context, at)?;
    Ok(true)
}

/// Mounts what a context describes: its own options are set, the source and flags are not.
pub(crate) fn finish(
    attempt: &Attempt<'_>,
    parsed: &Parsed,
    context: &OwnedFd,
    at: &Path,
) -> Result<(), Error> {
    let failed = |step: &str, errno| match kernel_message(context) {
        Some(said) => attempt.error_saying(step, errno, said),
        None => attempt.error(step, errno),
    };
    if parsed.flags.0.contains(MountFlags::RDONLY) {
        fsconfig_set_flag(context, "ro").map_err(|e| failed("set option ro", e))?;
    }
    let source = attempt.mount.source.as_str();
    fsconfig_set_string(context, "source", source).map_err(|e| failed("set source", e))?;
    fsconfig_create(context).map_err(|e| failed("create", e))?;
    let mounted = fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes(parsed.flags.0))
        .map_err(|e| failed("fsmount", e))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(&mounted, "", CWD, at, flags).map_err(|e| attempt.error("move_mount", e))
}

pub(crate) fn attributes(flags: MountFlags) -> MountAttrFlags {
    use MountAttrFlags as A;
    let pairs = [
        (MountFlags::RDONLY, A::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, A::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, A::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, A::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, A::MOUNT_ATTR_NOATIME),
        (MountFlags::NODIRATIME, A::MOUNT_ATTR_NODIRATIME),
        (MountFlags::STRICTATIME, A::MOUNT_ATTR_STRICTATIME),
    ];
    let set = pairs.iter().filter(|(flag, _)| flags.contains(*flag));
    set.fold(A::empty(), |attributes, (_, attribute)| attributes | *attribute)
}

/// The first complaint that the kernel left in the context's log (`e overlay: …`).
fn kernel_message(context: &OwnedFd) -> Option<String> {
    let mut buffer = [0_u8; 512];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..length]);
        if let Some(complaint) = line.strip_prefix("e ") {
            return Some(complaint.trim_end().to_owned());
        }
        if length == 0 {
            break;
        }
    }
    None
}

/// mount(2) with directories relative to their common parent.
fn relative(
    attempt: &Attempt<'_>,
    parsed: &Parsed,
    lowers: &[String],
    at: &Path,
) -> Result<(), Error> {
    let parent = common_parent(lowers);
    let too_long = || attempt.error("shorten lowerdir", Errno::NAMETOOLONG);
    let Some(parent) = parent else { return Err(too_long()) };
    let shortened: Vec<String> = lowers
        .iter()
        .filter_map(|l| Path::new(l).strip_prefix(&parent).ok()?.to_str())
        .map(|l| l.replace('\\', "\\\\").replace(':', "\\:"))
        .collect();
    let others = parsed.data.iter().filter(|o| !o.starts_with("lowerdir=")).cloned();
    let data: Vec<String> = others.chain([format!("lowerdir={}", shortened.join(":"))]).collect();
    let text = data.join(",");
    if text.len() >= 4096 {
        return Err(too_long());
    }
    let at = std::path::absolute(at).map_err(|_| too_long())?;
    let parsed = Parsed { flags: Flags(parsed.flags.0), data, ..Parsed::default() };
    let work = || {
        // SAFETY: only the working directory and umask are unshared, of a thread that ends here;
        // no file descriptor table is touched.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }
            .and_then(|()| rustix::process::chdir(&parent))
            .map_err(|e| attempt.error("enter the lower directories' parent", e))?;
        classic(attempt, &parsed, &at, text)
    };
    std::thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The deepest directory that all are below of.
pub(crate) fn common_parent(dirs: &[String]) -> Option<PathBuf> {
    let mut parent = Path::new(dirs.first()?).parent()?;
    while !dirs.iter().all(|dir| Path::new(dir).starts_with(parent)) {
        parent = parent.parent()?;
    }
    parent.is_absolute().then(|| parent.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_directories_are_split_at_unguarded_colons() {
        let data = ["index=off".to_owned(), r"lowerdir=/a\:b:/c\\d".to_owned()];
        assert_eq!(lower_dirs(&data), ["/a:b", r"/c\d"]);
    }

    #[test]
    fn the_common_parent_ends_at_a_directory() {
        let dirs = ["/r/snapshots/12/fs".to_owned(), "/r/snapshots/1/fs".to_owned()];
        assert_eq!(common_parent(&dirs), Some(PathBuf::from("/r/snapshots")));
    }

    /// The way for old kernels, whatever this one has.
    #[test]
    fn relative_directories_carry_over_a_hundred_layers() {
        if !berth_testkit::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let lowers: Vec<String> = (0..130)
            .map(|n| {
                let lower = dir.path().join(format!("{n}/fs"));
                std::fs::create_dir_all(&lower).unwrap();
                std::fs::write(lower.join(format!("f{n}")), "x").unwrap();
                lower.to_str().unwrap().to_owned()
            })
            .collect();
        let target = dir.path().join("m");
        std::fs::create_dir(&target).unwrap();
        let option = format!("lowerdir={}", lowers.join(":"));
        let mount = crate::Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: vec![option],
        };
        let parsed = crate::options::parse(&mount).unwrap();
        relative(&Attempt { mount: &mount, target: &target }, &parsed, &lowers, &target).unwrap();
        assert!(target.join("f0").exists() && target.join("f129").exists());
        crate::unmount_all(&target).unwrap();
        assert!(!target.join("f0").exists());
    }
}
