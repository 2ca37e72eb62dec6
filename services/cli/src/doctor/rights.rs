//! Limits, and whose the folders and sockets are.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use berth_config::{Config, Service};
use rustix::process::{Resource, getrlimit};

use super::Line;

/// Files that a node with many containers has open.
const FILES: u64 = 65_536;
/// Fewer processes are soon used up by containers.
const PROCESSES: u64 = 32_768;
/// The longest path that the kernel takes for a socket.
const SOCKET: usize = 107;

pub(super) fn limits() -> Vec<Line> {
    let most = fs_err::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    judge(getrlimit(Resource::Nofile).maximum, most.trim().parse().ok())
}

/// What is said of the most files that may be open and the most processes; nothing of the first is no
/// limit.
fn judge(files: Option<u64>, processes: Option<u64>) -> Vec<Line> {
    let text = |limit: Option<u64>| limit.map_or("no limit".to_owned(), |limit| limit.to_string());
    vec![
        match files {
            Some(limit) if limit < FILES => Line::warn(
                "open files",
                format!("{limit} at most, of this shell"),
                "raise it for berthd: LimitNOFILE=infinity in its unit, or ulimit -n",
            ),
            limit => Line::ok("open files", format!("{} at most", text(limit))),
        },
        match processes {
            Some(most) if most < PROCESSES => Line::warn(
                "processes",
                format!("{most} at most"),
                "raise it: sysctl -w kernel.pid_max=4194304",
            ),
            most => Line::ok("processes", format!("{} at most", text(most))),
        },
    ]
}

pub(super) fn look(config: &Config) -> Vec<Line> {
    let mut lines = vec![
        folder("folder of the root", &config.root),
        folder("folder of the state", &config.state),
    ];
    lines.push(clients(config));
    for service in config.services().filter(|service| *service != Service::Gateway) {
        let path = config.socket(service);
        lines.extend(fs_err::symlink_metadata(&path).ok().map(|of| between(&path, &of)));
    }
    lines
}

/// A folder of the node's: of root, and written to by nobody else.
fn folder(what: &str, path: &Path) -> Line {
    let what = format!("{what} ({})", path.display());
    let of = match fs_err::symlink_metadata(path) {
        Ok(of) => of,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Line::ok(what, "not there yet, it is made at the first start");
        }
        Err(error) => return Line::warn(what, error.to_string(), "run berth doctor as root"),
    };
    let found = owner(&of);
    if !of.is_dir() && !of.is_symlink() {
        Line::fail(what, "it is no folder", "name another in the configuration")
    } else if of.uid() != 0 {
        Line::fail(what, found, format!("chown root {}", path.display()))
    } else if !of.is_symlink() && of.mode() & 0o022 != 0 {
        let next = format!("others may replace what is there: chmod go-w {}", path.display());
        Line::fail(what, found, next)
    } else {
        Line::ok(what, found)
    }
}

/// The socket of clients: whoever may connect is root here.
fn clients(config: &Config) -> Line {
    let (path, gateway) = (&config.address, &config.gateway);
    let what = format!("socket ({})", path.display());
    if path.as_os_str().len() > SOCKET {
        let found = format!("its path has {} bytes", path.as_os_str().len());
        return Line::fail(what, found, "name a shorter address, the kernel takes 107 bytes");
    }
    let Ok(of) = fs_err::symlink_metadata(path) else {
        return Line::ok(what, "not there, no node runs");
    };
    let found = owner(&of);
    let wanted = (gateway.uid, gateway.gid, gateway.mode);
    if !of.file_type().is_socket() {
        Line::fail(what, "it is no socket", "remove it, or name another address")
    } else if of.mode() & 0o006 != 0 {
        let next = "whoever can connect is root here: set [gateway] mode to 0660 and a group";
        Line::warn(what, found, next)
    } else if (of.uid(), of.gid(), of.mode() & 0o777) != wanted {
        let next = "it is not as [gateway] uid, gid and mode say: restart the node";
        Line::warn(what, found, next)
    } else {
        Line::ok(what, found)
    }
}

/// A socket between the node's own services.
fn between(path: &Path, of: &Metadata) -> Line {
    let (what, found) = (format!("socket ({})", path.display()), owner(of));
    match of.uid() == 0 && of.mode() & 0o077 == 0 {
        true => Line::ok(what, found),
        false => {
            let next = "it is the services' own: restart the node, which makes it anew";
            Line::fail(what, found, next)
        }
    }
}

fn owner(of: &Metadata) -> String {
    format!("of {}:{}, mode {:04o}", of.uid(), of.gid(), of.mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn too_few_files_and_processes_are_told_with_how_to_raise_them() {
        let of = |files, processes| {
            let lines = judge(files, processes);
            let told = lines.into_iter().map(|line| (line.what, line.verdict, line.found));
            told.collect::<Vec<_>>()
        };
        let files = |verdict, found: &str| ("open files".to_owned(), verdict, found.to_owned());
        let processes = |verdict, found: &str| ("processes".to_owned(), verdict, found.to_owned());
        let least = of(Some(FILES), Some(PROCESSES));
        let enough = [files(Verdict::Ok, "65536 at most"), processes(Verdict::Ok, "32768 at most")];
        assert_eq!(least, enough);
        let unknown = of(None, None);
        let none =
            [files(Verdict::Ok, "no limit at most"), processes(Verdict::Ok, "no limit at most")];
        assert_eq!(unknown, none);
        let few = of(Some(FILES - 1), Some(PROCESSES - 1));
        let warned = [
            files(Verdict::Warn, "65535 at most, of this shell"),
            processes(Verdict::Warn, "32767 at most"),
        ];
        assert_eq!(few, warned);
        let next: Vec<_> = judge(Some(1024), Some(300)).into_iter().map(|line| line.next).collect();
        assert!(next[0].contains("LimitNOFILE=infinity"), "{next:?}");
        assert!(next[1].contains("sysctl -w kernel.pid_max"), "{next:?}");
    }

    /// Needs root: folders of others are none of a node.
    #[test]
    fn a_folder_that_others_may_write_to_fails() {
        let dir = tempfile::tempdir().unwrap();
        let of = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            fs_err::set_permissions(dir.path(), mode).unwrap();
            folder("folder", dir.path())
        };
        assert_eq!(of(0o711).verdict, Verdict::Ok);
        assert_eq!(of(0o777).verdict, Verdict::Fail);
        assert!(of(0o777).next.contains("chmod go-w"));
        assert_eq!(folder("folder", &dir.path().join("none")).verdict, Verdict::Ok);
        std::os::unix::fs::chown(dir.path(), Some(1), None).unwrap();
        assert_eq!(of(0o700).verdict, Verdict::Fail);
    }
}
