//! The file systems of the node's folders: kind, room, options, and whether overlays work there.

use std::path::{Path, PathBuf};

use berth_config::{Config, Service};
use berth_mount::{Mount, TempMount, mountinfo};

use super::{Line, Verdict};
use crate::output;

/// File systems that may go away, or whose files are not only this machine's.
const REMOTE: [&str; 5] = ["nfs", "nfs4", "cifs", "9p", "fuse.sshfs"];
/// Below this much room pulls fail soon, and below that the stores do.
const LITTLE: u64 = 1 << 30;
const LEAST: u64 = 64 << 20;

pub(super) fn look(config: &Config) -> Vec<Line> {
    let mut lines =
        vec![file_system("root", &config.root), overlay(&config.service_root(Service::Bundle))];
    let kept = [
        ("overlayfs", &config.bundle.overlayfs.root_path),
        ("native", &config.bundle.native.root_path),
        ("btrfs", &config.bundle.btrfs.root_path),
        ("blockfile", &config.bundle.blockfile.root_path),
        ("erofs", &config.bundle.erofs.root_path),
    ];
    for (name, path) in kept {
        lines.extend(path.as_ref().map(|path| file_system(&format!("{name}'s root_path"), path)));
    }
    lines.push(file_system("state", &config.state));
    lines
}

/// What is there of a path.
fn existing(path: &Path) -> PathBuf {
    let mut there = path.to_owned();
    while !there.exists() && there.pop() {}
    there
}

fn file_system(what: &str, path: &Path) -> Line {
    let there = existing(path);
    let what = format!("{what} ({})", path.display());
    let mounts = mountinfo::read().unwrap_or_default();
    // The last of the longest: what is mounted over another hides it.
    let of = mounts.iter().filter(|mount| there.starts_with(&mount.mount_point));
    let of = of.max_by_key(|mount| mount.mount_point.as_os_str().len());
    let (kind, options) = of.map_or(("?", ""), |of| (of.kind.as_str(), of.options.as_str()));
    let room = match rustix::fs::statvfs(&there) {
        Ok(room) => room,
        Err(errno) => {
            return Line::fail(what, errno.to_string(), "see what is wrong with its disk");
        }
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let inodes = (room.f_files > 0).then(|| room.f_favail * 100 / room.f_files);
    let found = format!("{kind}, {} free", output::size(free));
    let (verdict, next) = judge(kind, options, free, inodes);
    Line::of(verdict, what, found, next)
}

/// What is to be said of a file system; `inodes` in percent that are free.
fn judge(kind: &str, options: &str, free: u64, inodes: Option<u64>) -> (Verdict, &'static str) {
    let has = |option: &str| options.split(',').any(|of| of == option);
    if has("ro") {
        (Verdict::Fail, "it is mounted read-only: mount it to be written")
    } else if free < LEAST {
        (Verdict::Fail, "make space there")
    } else if has("noexec") && kind != "tmpfs" {
        (Verdict::Fail, "it is mounted noexec: no container's program can be executed")
    } else if free < LITTLE {
        (Verdict::Warn, "make space there, berth gc frees what nothing needs")
    } else if inodes.is_some_and(|percent| percent < 5) {
        (Verdict::Warn, "it has few inodes left: remove files, or make it anew with more")
    } else if REMOTE.contains(&kind) {
        (Verdict::Warn, "it is of another machine: use a local disk")
    } else if has("nodev") && kind != "tmpfs" {
        (Verdict::Warn, "it is mounted nodev: layers with devices cannot be used")
    } else {
        (Verdict::Ok, "")
    }
}

/// Tries an overlay on the file system of the snapshots.
fn overlay(bundle: &Path) -> Line {
    let there = existing(bundle);
    let what = format!("overlayfs ({})", there.display());
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        return Line::warn(what, "not tried", "run berth doctor as root");
    }
    match tried(&there) {
        Ok(()) => Line::ok(what, "works"),
        Err(error) => Line::warn(
            what,
            format!("{error:#}"),
            "use ext4 or xfs (ftype=1), or set [bundle] snapshotter: native copies every layer",
        ),
    }
}

fn tried(folder: &Path) -> anyhow::Result<()> {
    let probe = tempfile::Builder::new().prefix(".berth-doctor-").tempdir_in(folder)?;
    let at = |part: &str| probe.path().join(part).display().to_string();
    for part in ["one", "two", "upper", "work"] {
        fs_err::create_dir(at(part))?;
    }
    let options = vec![
        format!("lowerdir={}:{}", at("two"), at("one")),
        format!("upperdir={}", at("upper")),
        format!("workdir={}", at("work")),
    ];
    let (kind, source, target) = ("overlay".to_owned(), "overlay".to_owned(), String::new());
    let mounted =
        TempMount::new(&[Mount { kind, source, target, options }], probe.path(), "shown")?;
    drop(mounted);
    Ok(probe.close()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_has_its_verdict() {
        let of = |kind, options, free, inodes| judge(kind, options, free, Some(inodes)).0;
        assert_eq!(of("ext4", "rw,relatime", 1 << 40, 50), Verdict::Ok);
        assert_eq!(of("ext4", "ro,relatime", 1 << 40, 50), Verdict::Fail);
        assert_eq!(of("ext4", "rw,noexec", 1 << 40, 50), Verdict::Fail);
        assert_eq!(of("tmpfs", "rw,nosuid,nodev,noexec", 1 << 40, 50), Verdict::Ok);
        assert_eq!(of("ext4", "rw", 1 << 20, 50), Verdict::Fail);
        assert_eq!(of("ext4", "rw", 512 << 20, 50), Verdict::Warn);
        assert_eq!(of("ext4", "rw", 1 << 40, 1), Verdict::Warn);
        assert_eq!(of("nfs4", "rw", 1 << 40, 50), Verdict::Warn);
        // Those that make inodes as they are needed tell of none.
        assert_eq!(judge("btrfs", "rw", 1 << 40, None).0, Verdict::Ok);
    }
}
