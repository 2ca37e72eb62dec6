//! Control groups: where a process's are, what they measure, who is in them, when memory runs out, and removing those
//! that are left.
//!
//! Read and written as files, both hierarchies.

mod left;
mod oom;

use std::io::{ErrorKind, Write};
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

    /// Lets all in it run that may have been frozen. Nothing happens where nothing can be frozen, or it is gone.
    ///
    /// # Errors
    /// [`Error::Io`]: it may be frozen still.
    pub(crate) fn thaw(&self) -> Result<(), Error> {
        let Some(folder) = self.0.controller("freezer") else { return Ok(()) };
        let (file, word) = match self.0 {
            Place::V1(_) => ("freezer.state", "THAWED"),
            Place::V2(_) => ("cgroup.freeze", "0"),
        };
        match std::fs::OpenOptions::new().write(true).open(folder.join(file)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            opened => opened
                .and_then(|mut file| file.write_all(word.as_bytes()))
                .map_err(Error::io(format!("thaw {}", folder.display()))),
        }
    }
}

/// A group of the container's own may be removed while this looks: nobody is in it then.
fn collect(folder: &Path, pids: &mut Vec<u32>) -> Result<(), Error> {
    let Some(text) = there(std::fs::read_to_string(folder.join("cgroup.procs")), folder)? else {
        return Ok(());
    };
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    let Some(entries) = there(std::fs::read_dir(folder), folder)? else { return Ok(()) };
    for entry in entries {
        let Some(entry) = there(entry, folder)? else { return Ok(()) };
        if there(entry.file_type(), folder)?.is_some_and(|kind| kind.is_dir()) {
            collect(&entry.path(), pids)?;
        }
    }
    Ok(())
}

/// What was read of a group; nothing if that is gone, which reading a file of it that was open tells otherwise.
fn there<T>(read: std::io::Result<T>, folder: &Path) -> Result<Option<T>, Error> {
    match read {
        Err(error)
            if error.kind() == ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ENODEV) =>
        {
            Ok(None)
        }
        read => read.map(Some).map_err(Error::io(format!("read {}", folder.display()))),
    }
}

#[cfg(test)]
mod tests;
