//! Where control groups are mounted, and which are a process's.
//!
//! Owns: finding and joining them, in both hierarchies. Must not know: what is measured or limited
//! there.

mod error;

use std::path::{Path, PathBuf};

pub use error::Error;

/// The control groups of a process.
#[derive(Clone, Debug)]
pub enum Place {
    /// One folder for each controller.
    V1(Vec<(String, PathBuf)>),
    /// One folder.
    V2(PathBuf),
}

const ROOT: &str = "/sys/fs/cgroup";
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// Whether there is only the second hierarchy.
#[must_use]
pub fn unified() -> bool {
    rustix::fs::statfs(ROOT).is_ok_and(|stat| stat.f_type == CGROUP2_MAGIC)
}

/// The control groups of a process.
///
/// # Errors
/// [`Error::Io`] when it is gone, [`Error::None`].
pub fn of_process(pid: i32) -> Result<Place, Error> {
    let groups = fs_err::read_to_string(format!("/proc/{pid}/cgroup"))?;
    if unified() {
        let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.ok_or(Error::None(pid))?;
        return Ok(Place::V2(below(Path::new(ROOT), path)));
    }
    let mounts = fs_err::read_to_string("/proc/self/mountinfo")?;
    let mut found = Vec::new();
    for (controller, root, folder) in hierarchies(&mounts) {
        let path = groups.lines().find_map(|line| path_of(line, controller));
        if let Some(path) = path.and_then(|path| path.strip_prefix(root)) {
            found.push((controller.to_owned(), below(Path::new(folder), path)));
        }
    }
    Ok(Place::V1(found))
}

/// The folders of all control groups of a process: also that of the second hierarchy where this is mounted
/// beside the first.
///
/// # Errors
/// As of [`of_process`].
pub fn folders(pid: i32) -> Result<Vec<PathBuf>, Error> {
    let mut folders: Vec<_> = match of_process(pid)? {
        Place::V2(folder) => return Ok(vec![folder]),
        Place::V1(all) => all.into_iter().map(|(_, folder)| folder).collect(),
    };
    let groups = fs_err::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mounts = fs_err::read_to_string("/proc/self/mountinfo")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
    if let (Some(path), Some((root, folder))) = (path, second(&mounts))
        && let Some(path) = path.strip_prefix(root)
    {
        folders.push(below(Path::new(folder), path));
    }
    Ok(folders)
}

fn below(folder: &Path, path: &str) -> PathBuf {
    folder.join(path.trim_start_matches('/'))
}

/// The path in a line `number:controllers:path` that has the controller.
fn path_of<'a>(line: &'a str, controller: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    controllers.split(',').any(|one| one == controller).then_some(path)
}

/// Controller, root within the hierarchy and mount point of each mounted v1 hierarchy.
fn hierarchies(mounts: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    mounts.lines().flat_map(|line| {
        let (root, folder, back) = parts(line);
        let mut back = back.split(' ');
        let options = match back.next() {
            Some("cgroup") => back.nth(1).unwrap_or_default(),
            _ => "",
        };
        let named = options.split(',').filter(|one| !matches!(*one, "rw" | "ro" | ""));
        named.map(move |controller| (controller, root, folder))
    })
}

/// Root within the second hierarchy and where that is mounted, if it is.
fn second(mounts: &str) -> Option<(&str, &str)> {
    let mut mounts = mounts.lines().map(parts).filter(|(.., back)| back.starts_with("cgroup2 "));
    mounts.next().map(|(root, folder, _)| (root, folder))
}

/// Of a line of mountinfo the root, empty for all, the mount point, and what follows the dash.
fn parts(line: &str) -> (&str, &str, &str) {
    let (front, back) = line.split_once(" - ").unwrap_or((line, ""));
    let mut front = front.split(' ').skip(3);
    let (root, folder) = (front.next().unwrap_or("/"), front.next().unwrap_or_default());
    (if root == "/" { "" } else { root }, folder, back)
}

/// Moves a process into a control group that exists, given below the root of the hierarchies.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`].
pub fn join(pid: u32, path: &str) -> Result<(), Error> {
    if unified() {
        let group = below(Path::new(ROOT), path);
        if !group.exists() {
            return Err(Error::NotFound(path.to_owned()));
        }
        return Ok(fs_err::write(group.join("cgroup.procs"), pid.to_string())?);
    }
    let mounts = fs_err::read_to_string("/proc/self/mountinfo")?;
    let folders = hierarchies(&mounts).map(|(_, _, folder)| below(Path::new(folder), path));
    // A group need not be in every hierarchy, but it has to be in one.
    let groups: Vec<_> = folders.filter(|folder| folder.exists()).collect();
    if groups.is_empty() {
        return Err(Error::NotFound(path.to_owned()));
    }
    for group in groups {
        fs_err::write(group.join("cgroup.procs"), pid.to_string())?;
    }
    Ok(())
}

/// As [`join`]; of the first hierarchies a group that is in none of them is made in all, as
/// containerd does it for itself.
///
/// # Errors
/// [`Error::NotFound`] in the second hierarchy, [`Error::Io`].
pub fn join_or_make(pid: u32, path: &str) -> Result<(), Error> {
    match join(pid, path) {
        Err(Error::NotFound(_)) if !unified() => {}
        joined => return joined,
    }
    let mounts = fs_err::read_to_string("/proc/self/mountinfo")?;
    for (controller, _, folder) in hierarchies(&mounts) {
        // A group with a CPU set of its own takes nobody until it has CPUs: that of above will do.
        if controller != "cpuset" {
            fs_err::create_dir_all(below(Path::new(folder), path))?;
        }
    }
    join(pid, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_with_their_roots() {
        let mounts = "\
            30 24 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 30 0:29 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            33 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found: Vec<_> = hierarchies(mounts).collect();
        assert_eq!(
            found,
            [
                ("cpu", "", "/sys/fs/cgroup/cpu,cpuacct"),
                ("cpuacct", "", "/sys/fs/cgroup/cpu,cpuacct"),
                ("memory", "/docker/x", "/sys/fs/cgroup/memory"),
            ]
        );
        assert_eq!(second(mounts), Some(("", "/sys/fs/cgroup/unified")));
        assert_eq!(path_of("4:cpu,cpuacct:/a/b", "cpuacct"), Some("/a/b"));
        assert_eq!(path_of("4:cpu,cpuacct:/a/b", "cpus"), None);
    }
}
