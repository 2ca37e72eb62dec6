//! What processes and the machine use, as the kernel tells it.

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Ticks of a second in /proc: a part of the kernel's interface.
const TICKS: f64 = 100.0;

/// Lets this process, and those that it starts, have as many descriptors open as it may.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_descriptors() -> Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("raise the limit of open files")?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Memory of a process in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Its share.
    pub pss: u64,
    /// All that it has mapped and that is there.
    pub rss: u64,
}

/// The memory of a process.
///
/// # Errors
/// When there is none of that number.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs_err::read_to_string(&path)?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.with_context(|| format!("{path} has no {name}"))
    };
    Ok(Memory { pss: field("Pss:")?, rss: field("Rss:")? })
}

/// Seconds of processor time that a process has used.
///
/// # Errors
/// When there is none of that number.
pub fn processor(pid: u32) -> Result<f64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').context("a process without a name")?.1;
    let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS)
}

/// Seconds of processor time that all processes of the machine have used.
///
/// # Errors
/// When the kernel does not say.
pub fn busy() -> Result<f64> {
    let stat = fs_err::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let fields = line.split_whitespace().skip(1).filter_map(|field| field.parse::<f64>().ok());
    // user nice system idle iowait irq softirq steal
    let all: Vec<f64> = fields.collect();
    let ticks: f64 = all
        .iter()
        .enumerate()
        .filter(|(at, _)| matches!(at, 0..=2 | 5..=7))
        .map(|(_, it)| it)
        .sum();
    Ok(ticks / TICKS)
}

/// The most memory that a process ever had, in KiB.
///
/// # Errors
/// When there is none of that number.
pub fn peak(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs_err::read_to_string(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} has no VmHWM"))
}
