//! Control groups: where a process's are, what they measure, who is in them, when memory runs out, and removing those
//! that are left.
//!
//! Read and written as files, both hierarchies.

mod left;
mod oom;

use std::path::Path;

use berth_cgroup::Place;
use prost_types::Any;

pub(crate) use left::Left;
pub(crate) use oom::{Memory, watch};

use crate::Error;

/// The control groups of a container.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup(Place);

impl Cgroup {
    /// Those of a process.
    pub(crate) fn of_process(pid: i32) -> Result<Self, Error> {
        Ok(Self(berth_cgroup::of_process(pid)?))
    }

    /// What the container uses, as containerd's metrics message.
    pub(crate) fn metrics(&self) -> Any {
        berth_cgroup_metrics::metrics(&self.0)
    }

    /// All processes in the group and in those below it.
    pub(crate) fn pids(&self) -> Result<Vec<u32>, Error> {
        let folder = ["pids", "devices", "freezer", "memory"]
            .iter()
            .find_map(|name| self.0.controller(name))
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
