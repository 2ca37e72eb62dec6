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

impl Place {
    /// The folder of a controller; that of all in the second hierarchy.
    #[must_use]
    pub fn controller(&self, name: &str) -> Option<&Path> {
        match self {
            Self::V1(all) => {
                all.iter().find(|(known, _)| known == name).map(|(_, path)| path.as_path())
            }
            Self::V2(folder) => Some(folder),
        }
    }
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

/// The control groups of this name, given below the root of the hierarchies.
///
/// # Errors
/// [`Error::NotFound`] if it is in none of them, or no name of a group; [`Error::Io`].
pub fn named(path: &str) -> Result<Place, Error> {
    let none = || Error::NotFound(path.to_owned());
    let is_name = path.split('/').all(|part| !matches!(part, "." | ".."));
    if !is_name || path.trim_matches('/').is_empty() {
        return Err(none());
    }
    if unified() {
        let folder = below(Path::new(ROOT), path);
        return folder.is_dir().then_some(Place::V2(folder)).ok_or_else(none);
    }
    let mounts = fs_err::read_to_string("/proc/self/mountinfo")?;
    let folders = hierarchies(&mounts)
        .map(|(controller, _, folder)| (controller.to_owned(), below(Path::new(folder), path)));
    let found: Vec<_> = folders.filter(|(_, folder)| folder.is_dir()).collect();
    if found.is_empty() { Err(none()) } else { Ok(Place::V1(found)) }
}

/// Where systemd has the group of a slice: `a-b.slice` lies in `a.slice`. Other names, and whole paths, are as they are.
#[must_use]
pub fn of_slice(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    let Some(name) = last.strip_suffix(".slice").filter(|name| !name.is_empty()) else {
        return path.to_owned();
    };
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    let mut whole = String::new();
    for end in ends.filter(|end| *end > 0) {
        whole.push_str(&format!("/{}.slice", &name[..end]));
    }
    whole
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

    #[test]
    fn slices_lie_in_slices() {
        for (path, whole) in [
            ("a.slice", "/a.slice"),
            ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
            ("/a.slice/a-b.slice", "/a.slice/a-b.slice"),
            ("/plain/b", "/plain/b"),
            ("-.slice", "/-.slice"),
            (".slice", ".slice"),
        ] {
            assert_eq!(of_slice(path), whole, "{path}");
        }
    }

    #[test]
    fn only_groups_below_the_root_have_names() {
        for path in ["", "/", "/../etc", "a/..", "/there/is/no/such/group/of/berth"] {
            assert!(matches!(named(path), Err(Error::NotFound(_))), "{path}");
        }
    }
}
