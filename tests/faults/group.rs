//! A control group with little room.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What is there already was given elsewhere: this is for what comes.
const ROOM: &str = "16384";

pub struct Group {
    folder: PathBuf,
    limit: &'static str,
    none: &'static str,
}

impl Group {
    /// Has a process in a group of its own from now on.
    pub fn make(pid: u32) -> Result<Self> {
        let name = format!("berth-faults-{}-{pid}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let group = match root.join("cgroup.controllers").exists() {
            true => Self { folder: root.join(name), limit: "memory.max", none: "max" },
            false => Self {
                folder: root.join("memory").join(name),
                limit: "memory.limit_in_bytes",
                none: "-1",
            },
        };
        fs_err::create_dir(&group.folder)?;
        group.write(group.limit, ROOM)?;
        group.write("cgroup.procs", &pid.to_string())?;
        Ok(group)
    }

    /// A shim that was started in it meanwhile stays there, with room.
    pub fn leave(self) -> Result<()> {
        self.write(self.limit, self.none)
    }

    /// How many of its processes the kernel has killed for want of memory.
    pub fn kills(&self) -> Result<u64> {
        let file = if self.limit == "memory.max" { "memory.events" } else { "memory.oom_control" };
        let told = fs_err::read_to_string(self.folder.join(file))?;
        let kills = told.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(kills.context("no count of kills")?.trim().parse()?)
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        Ok(fs_err::write(self.folder.join(file), value)?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that a shim is in goes with the machine.
        let _ = fs_err::remove_dir(&self.folder);
    }
}
