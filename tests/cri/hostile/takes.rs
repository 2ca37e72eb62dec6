//! What a process takes of the machine.

use anyhow::{Context, Result};
use berth_testkit::until;

use crate::stage::SOON;

/// What it took once.
#[derive(Clone, Copy, Debug)]
pub struct Takes {
    pid: u32,
    descriptors: usize,
    threads: usize,
    /// In no file, in KiB.
    memory: u64,
}

impl Takes {
    pub fn of(pid: u32) -> Result<Self> {
        let text = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let memory = line.context("no memory")?.trim().trim_end_matches(" kB").parse()?;
        let count = |what: &str| {
            Ok::<_, anyhow::Error>(fs_err::read_dir(format!("/proc/{pid}/{what}"))?.count())
        };
        Ok(Self { pid, descriptors: count("fd")?, threads: count("task")?, memory })
    }

    /// It comes to take no more than then, but for so many KiB of memory.
    pub fn is_back(&self, memory: u64) -> Result<()> {
        let mut last = None;
        // Threads for what blocks end when they have had nothing to do for a while.
        let back = until("it takes no more than before", SOON, || {
            last = Self::of(self.pid).ok();
            last.is_some_and(|now| {
                // One or two come and go with what it does by itself.
                now.descriptors <= self.descriptors + 4
                    && now.threads <= self.threads + 2
                    && now.memory <= self.memory + memory
            })
        });
        back.with_context(|| format!("{last:?} after {self:?}"))
    }
}
