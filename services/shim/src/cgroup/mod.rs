//! Control groups: where a process's are, what they measure, who is in them, when memory runs out.
//!
//! Read and written as files, both hierarchies.

mod files;
mod left;
mod oom;
mod v1;
mod v2;

use std::path::{Path, PathBuf};

use berth_cgroup::Place;
use prost_types::Any;

pub(crate) use left::Left;
pub(crate) use oom::{Memory, watch};

use crate::Error;

/// The control groups of a container.
#[derive(Clone, Debug)]
pub(crate) enum Cgroup {
    /// One folder for each controller.
    V1(Vec<(String, PathBuf)>),
    /// One folder.
    V2(PathBuf),
}

impl Cgroup {
    /// Those of a process.
    pub(crate) fn of_process(pid: i32) -> Result<Self, Error> {
        Ok(match berth_cgroup::of_process(pid)? {
            Place::V1(all) => Self::V1(all),
            Place::V2(folder) => Self::V2(folder),
        })
    }

    /// What the container uses, as containerd's metrics message.
    pub(crate) fn metrics(&self) -> Any {
        match self {
            Cgroup::V1(_) => berth_proto::pack(&v1::metrics(self)),
            Cgroup::V2(folder) => berth_proto::pack(&v2::metrics(folder)),
        }
    }

    /// The folder of a controller of v1.
    fn controller(&self, name: &str) -> Option<&Path> {
        match self {
            Cgroup::V1(all) => {
                all.iter().find(|(known, _)| known == name).map(|(_, path)| path.as_path())
            }
            Cgroup::V2(folder) => Some(folder),
        }
    }

    /// All processes in the group and in those below it.
    pub(crate) fn pids(&self) -> Result<Vec<u32>, Error> {
        let folder = ["pids", "devices", "freezer", "memory"]
            .iter()
            .find_map(|name| self.controller(name))
            .ok_or(Error::State("the container has no control group"))?;
        let mut pids = Vec::new();
        collect(folder, &mut pids)?;
        Ok(pids)
    }
}

fn collect(folder: &Path, pids: &mut Vec<u32>) -> Result<(), Error> {
    let text = fs_err::read_to_string(folder.join("cgroup.procs"))?;
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), pids)?;
        }
    }
    Ok(())
}
