//! What a process takes of the machine.

use anyhow::{Context, Result, ensure};
use berth_testkit::until;

use crate::ANSWERED;

/// More than it may have in memory afterwards, in KiB: what an allocator keeps, and what a build without
/// optimisation adds.
const MEMORY: u64 = 64 << 10;

/// What it took once.
#[derive(Clone, Copy, Debug)]
pub struct Takes {
    pid: u32,
    descriptors: usize,
    /// In no file, in KiB.
    memory: u64,
}

impl Takes {
    pub fn of(pid: u32) -> Result<Self> {
        let text = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
        let memory = line.context("no memory")?.trim().trim_end_matches(" kB").parse()?;
        Ok(Self { pid, descriptors: descriptors(pid)?, memory })
    }

    /// It never has more than so many descriptors more.
    pub fn descriptors_within(&self, more: usize) -> Result<()> {
        let now = descriptors(self.pid)?;
        ensure!(now <= self.descriptors + more, "{now} descriptors instead of {self:?}");
        Ok(())
    }

    /// It comes to take no more than then, but for what its memory may be.
    pub fn is_back(&self) -> Result<()> {
        let mut last = None;
        let back = until("it takes no more than before", ANSWERED, || {
            last = Self::of(self.pid).ok();
            last.is_some_and(|now| {
                // One or two come and go with what it does by itself.
                now.descriptors <= self.descriptors + 4 && now.memory <= self.memory + MEMORY
            })
        });
        back.with_context(|| format!("{last:?} after {self:?}"))
    }
}

fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs_err::read_dir(format!("/proc/{pid}/fd"))?.count())
}
