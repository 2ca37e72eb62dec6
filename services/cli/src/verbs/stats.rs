//! `berth stats`

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use berth_proto::containerd::services::tasks::v1::MetricsRequest;
use berth_proto::containerd::types::Metric;
use berth_proto::io::containerd::cgroups::{v1, v2};
use berth_proto::unpack;
use serde::Serialize;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{container, output};

/// How long a look at the processor's time lasts.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look once.
    #[arg(long)]
    no_stream: bool,
    /// The containers; all that run by default.
    containers: Vec<String>,
}

/// What one container used up to a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub nanos: i128,
    pub cpu_nanos: u64,
    pub memory: u64,
    pub memory_limit: u64,
    pub pids: u64,
    pub read: u64,
    pub written: u64,
}

/// What is shown of one container.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub id: String,
    pub cpu_percent: f64,
    pub memory: u64,
    memory_limit: Option<u64>,
    pub pids: u64,
    read: u64,
    written: u64,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let mut ids = Vec::new();
    for name in &args.containers {
        ids.push(container::get(&client, name).await?.id);
    }
    let mut before = samples(&client, &ids).await?;
    let mut look = tokio::time::interval(LOOK);
    look.tick().await;
    loop {
        look.tick().await;
        let now = samples(&client, &ids).await?;
        let mut lines: Vec<_> =
            now.iter().map(|(id, sample)| line(id, before.get(id), sample)).collect();
        lines.sort_by(|one, other| one.id.cmp(&other.id));
        if !args.no_stream && !global.json {
            // Home and clear: what is printed replaces what was.
            std::io::stdout().write_all(b"\x1b[H\x1b[2J")?;
        }
        print(&lines, global, args.no_stream)?;
        if args.no_stream {
            return Ok(());
        }
        before = now;
    }
}

fn print(lines: &[Line], global: &Global, once: bool) -> Result<()> {
    if global.json {
        return if once { output::json(&lines) } else { output::json_line(&lines) };
    }
    let rows: Vec<_> = lines
        .iter()
        .map(|line| {
            let limit = line.memory_limit.map_or("no limit".to_owned(), output::size);
            [
                line.id.clone(),
                format!("{:.1} %", line.cpu_percent),
                format!("{} / {limit}", output::size(line.memory)),
                line.pids.to_string(),
                format!("{} / {}", output::size(line.read), output::size(line.written)),
            ]
        })
        .collect();
    output::table(["NAME", "CPU", "MEMORY", "PIDS", "READ / WRITTEN"], &rows)
}

/// What the containers have used up to now; all that run, if none are named.
pub(super) async fn samples(client: &Client, ids: &[String]) -> Result<HashMap<String, Sample>> {
    let filters = ids.iter().map(|id| format!("id=={id}")).collect();
    let request = client.request(MetricsRequest { filters });
    let answer = client.tasks().metrics(request).await.step(|| "read metrics".to_owned())?;
    let metrics = answer.into_inner().metrics;
    // What has ended is measured until it is deleted, and is shown to who asks for it.
    let tasks = if ids.is_empty() { container::tasks(client).await? } else { Vec::new() };
    let running =
        |id: &String| tasks.iter().any(|task| task.id == *id && container::is_alive(task));
    let wanted = |metric: &Metric| ids.contains(&metric.id) || running(&metric.id);
    Ok(metrics.into_iter().filter(wanted).filter_map(|m| Some((m.id.clone(), of(&m)?))).collect())
}

fn of(metric: &Metric) -> Option<Sample> {
    let data = metric.data.as_ref()?;
    let at = metric.timestamp.as_ref();
    let nanos = at.map_or(0, |t| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanos));
    let used = match (unpack::<v1::Metrics>(data), unpack::<v2::Metrics>(data)) {
        (Some(Ok(metrics)), _) => of_v1(metrics),
        (_, Some(Ok(metrics))) => of_v2(metrics),
        _ => return None,
    };
    Some(Sample { nanos, ..used })
}

fn of_v1(metrics: v1::Metrics) -> Sample {
    let memory = metrics.memory.unwrap_or_default();
    let usage = memory.usage.unwrap_or_default();
    let blkio = metrics.blkio.unwrap_or_default().io_service_bytes_recursive;
    let sum =
        |op: &str| blkio.iter().filter(|e| e.op.eq_ignore_ascii_case(op)).map(|e| e.value).sum();
    Sample {
        nanos: 0,
        cpu_nanos: metrics.cpu.and_then(|cpu| cpu.usage).map_or(0, |usage| usage.total),
        // The page cache that may be dropped at any time is not in use.
        memory: usage.usage.saturating_sub(memory.total_inactive_file),
        memory_limit: usage.limit,
        pids: metrics.pids.map_or(0, |pids| pids.current),
        read: sum("read"),
        written: sum("write"),
    }
}

fn of_v2(metrics: v2::Metrics) -> Sample {
    let memory = metrics.memory.unwrap_or_default();
    let io = metrics.io.unwrap_or_default().usage;
    Sample {
        nanos: 0,
        cpu_nanos: metrics.cpu.map_or(0, |cpu| cpu.usage_usec * 1000),
        memory: memory.usage.saturating_sub(memory.inactive_file),
        memory_limit: memory.usage_limit,
        pids: metrics.pids.map_or(0, |pids| pids.current),
        read: io.iter().map(|entry| entry.rbytes).sum(),
        written: io.iter().map(|entry| entry.wbytes).sum(),
    }
}

pub(super) fn line(id: &str, before: Option<&Sample>, now: &Sample) -> Line {
    let cpu_percent = before.map_or(0.0, |before| {
        let elapsed = (now.nanos - before.nanos) as f64;
        let used = now.cpu_nanos.saturating_sub(before.cpu_nanos) as f64;
        if elapsed > 0.0 { used / elapsed * 100.0 } else { 0.0 }
    });
    // The kernel says "no limit" with numbers that no machine has.
    let limit = (1..1 << 60).contains(&now.memory_limit).then_some(now.memory_limit);
    Line {
        id: id.to_owned(),
        cpu_percent,
        memory: now.memory,
        memory_limit: limit,
        pids: now.pids,
        read: now.read,
        written: now.written,
    }
}

#[cfg(test)]
mod tests {
    use berth_proto::pack;
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn half_a_processor_is_fifty_percent() {
        let before = Sample { nanos: 0, cpu_nanos: 1_000, ..Default::default() };
        let now = Sample { nanos: 1_000_000_000, cpu_nanos: 500_001_000, ..before.clone() };
        assert!((line("c", Some(&before), &now).cpu_percent - 50.0).abs() < 0.001);
        assert!(line("c", None, &now).cpu_percent.abs() < f64::EPSILON);
    }

    #[test]
    fn both_versions_of_cgroups_are_read() {
        let metric = |data| Metric {
            id: "c".into(),
            timestamp: Some(Timestamp { seconds: 1, nanos: 5 }),
            data: Some(data),
        };
        let v1 =
            v1::Metrics { pids: Some(v1::PidsStat { current: 3, limit: 0 }), ..Default::default() };
        let sample = of(&metric(pack(&v1))).unwrap();
        assert_eq!((sample.pids, sample.nanos), (3, 1_000_000_005));
        let v2 = v2::Metrics {
            cpu: Some(v2::CpuStat { usage_usec: 7, ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(of(&metric(pack(&v2))).unwrap().cpu_nanos, 7000);
    }
}
