//! What every process tells of itself, with the names that Prometheus' own clients have behind ours.

use std::fmt;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Looked up when somebody asks.
#[derive(Debug)]
pub(crate) struct Process {
    /// Seconds since 1970 when this was made, which is when the process begins.
    began: f64,
}

impl Process {
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { began: since.as_secs_f64() }
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
        let began = ConstGauge::new(self.began);
        let (name, help) = ("process_start_time_seconds", "When the process began, since 1970");
        began.encode(encoder.encode_descriptor(name, help, None, began.metric_type())?)?;
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
