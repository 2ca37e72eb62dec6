//! What a container has used, in the units of metrics.

/// What a container has used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Time on processors, in seconds.
    pub cpu: f64,
    /// Time for which it was kept from processors by its limit, in seconds.
    pub throttled: f64,
    /// Bytes of memory, page cache that may be dropped left out.
    pub memory: u64,
    /// The most that it may use.
    pub memory_limit: Option<u64>,
    /// Processes that were killed for want of memory.
    pub oom_kills: u64,
    /// Processes and threads.
    pub pids: u64,
    /// The most that it may have.
    pub pids_limit: Option<u64>,
    /// Bytes read from block devices.
    pub read: u64,
    /// Bytes written to block devices.
    pub written: u64,
}
