//! What every process tells of itself, with the names that Prometheus' own clients have behind ours.

use std::fmt;
use std::path::Path;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Looked up when somebody asks.
#[derive(Debug)]
pub(crate) struct Process {
    /// Seconds since 1970 when the process began. Looked up once: it moves with the clock.
    began: Option<f64>,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self { began: began(Path::new("/proc/self")) }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<u64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("process_open_fds", "Open file descriptors", open_files())?;
        gauge("process_max_fds", "File descriptors that may be open", most_files())?;
        gauge("process_threads", "Threads", status("Threads:"))?;
        let resident = status("VmRSS:").map(|kib| kib << 10);
        gauge("process_resident_memory_bytes", "Resident memory", resident)?;
        if let Some(began) = self.began.map(ConstGauge::new) {
            let (name, help) = ("process_start_time_seconds", "When the process began, since 1970");
            began.encode(encoder.encode_descriptor(name, help, None, began.metric_type())?)?;
        }
        let build = ConstGauge::new(1_u64);
        let help = "Which build runs";
        let mut family =
            encoder.encode_descriptor("build_info", help, None, build.metric_type())?;
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        build.encode(family.encode_family(&labels)?)?;
        let Some(seconds) = cpu_seconds() else { return Ok(()) };
        let counter = ConstCounter::new(seconds);
        let (name, help) = ("process_cpu_seconds", "Time on processors");
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
    }
}

/// When a process began, in seconds since 1970.
fn began(process: &Path) -> Option<f64> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    since_1970(&stat, &std::fs::read_to_string("/proc/stat").ok()?)
}

/// From what the kernel says of a process and of the machine.
fn since_1970(process: &str, machine: &str) -> Option<f64> {
    /// The kernel tells programs times in hundredths of seconds, whatever it counts itself in.
    const TICKS: f64 = 100.0;
    // The name, in brackets, may hold anything. It is the second field, the start the 22nd.
    let (_, fields) = process.rsplit_once(')')?;
    let ticks: f64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let boot = machine.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + ticks / TICKS)
}

fn open_files() -> Option<u64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // That of the listing is none.
    u64::try_from(open.saturating_sub(1)).ok()
}

fn most_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// A number in `/proc/self/status`.
fn status(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let duration = std::time::Duration::try_from(time).ok()?;
    Some(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_began_when_the_kernel_says() {
        let stat = "7 (a) 1 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 250 20";
        let machine = "cpu 1 2\nbtime 1000\nprocesses 3\n";
        assert_eq!(since_1970(stat, machine), Some(1002.5));
        assert_eq!(since_1970("7 (a) S 1", machine), None);
        assert_eq!(since_1970(stat, "cpu 1 2\n"), None);
        // Ours is a child of others.
        let parent = format!("/proc/{}", std::os::unix::process::parent_id());
        let (own, parent) = (began(Path::new("/proc/self")), began(Path::new(&parent)));
        assert!(parent.unwrap() <= own.unwrap(), "{parent:?} {own:?}");
    }
}
