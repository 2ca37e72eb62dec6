//! A shim's figures of a container's control group, of either version, as the CRI has them.

use berth_proto::containerd::types::Metric;
use berth_proto::io::containerd::cgroups::{v1, v2};
use berth_proto::runtime::v1 as wire;
use berth_proto::unpack;
use prost_types::Any;

/// Limits above it are none.
const NO_LIMIT: u64 = 1 << 62;

/// What was measured at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measured {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// The processors' time, in nanoseconds.
    pub cpu: u64,
    pub processes: u64,
    usage: u64,
    inactive_file: u64,
    limit: u64,
    rss: u64,
    faults: u64,
    major_faults: u64,
    /// What lies in swap, and the most that may; nothing where it is not counted.
    swap: Option<(u64, u64)>,
    cpu_psi: Option<v2::PsiStats>,
    memory_psi: Option<v2::PsiStats>,
    io_psi: Option<v2::PsiStats>,
}

impl Measured {
    /// Nothing for figures that are of no kind that is known.
    pub(super) fn of(metric: &Metric) -> Option<Self> {
        let at = crate::time::from_wire(metric.timestamp.as_ref()).unwrap_or_default();
        Self::at(at, metric.data.as_ref()?)
    }

    /// The same of figures of a moment.
    pub(super) fn at(at: i64, data: &Any) -> Option<Self> {
        let figures = match (unpack::<v1::Metrics>(data), unpack::<v2::Metrics>(data)) {
            (Some(Ok(metrics)), _) => Self::of_v1(metrics),
            (_, Some(Ok(metrics))) => Self::of_v2(metrics),
            _ => return None,
        };
        Some(Self { at, ..figures })
    }

    fn of_v1(metrics: v1::Metrics) -> Self {
        let memory = metrics.memory.unwrap_or_default();
        let usage = memory.usage.unwrap_or_default();
        // The kernel counts swap together with memory there.
        let swap = memory.swap.map(|both| {
            let limit = match both.limit {
                NO_LIMIT.. => u64::MAX,
                both => both.saturating_sub(usage.limit),
            };
            (both.usage.saturating_sub(usage.usage), limit)
        });
        Self {
            swap,
            cpu: metrics.cpu.and_then(|cpu| cpu.usage).map_or(0, |usage| usage.total),
            processes: metrics.pids.map_or(0, |pids| pids.current),
            usage: usage.usage,
            inactive_file: memory.total_inactive_file,
            limit: usage.limit,
            rss: memory.total_rss,
            faults: memory.total_pg_fault,
            major_faults: memory.total_pg_maj_fault,
            ..Self::default()
        }
    }

    fn of_v2(metrics: v2::Metrics) -> Self {
        let (cpu, memory) = (metrics.cpu.unwrap_or_default(), metrics.memory.unwrap_or_default());
        Self {
            cpu: cpu.usage_usec.saturating_mul(1000),
            processes: metrics.pids.map_or(0, |pids| pids.current),
            usage: memory.usage,
            inactive_file: memory.inactive_file,
            limit: memory.usage_limit,
            rss: memory.anon,
            faults: memory.pgfault,
            major_faults: memory.pgmajfault,
            swap: Some((memory.swap_usage, memory.swap_limit)),
            cpu_psi: cpu.psi,
            memory_psi: memory.psi,
            io_psi: metrics.io.and_then(|io| io.psi),
            ..Self::default()
        }
    }

    /// One of a processor's time alone.
    #[cfg(test)]
    pub(super) fn of_processor(at: i64, cpu: u64) -> Self {
        Self { at, cpu, ..Self::default() }
    }

    /// Of all parts together, measured when the first was.
    pub(super) fn sum(parts: &[&Self]) -> Option<Self> {
        let at = parts.iter().map(|part| part.at).min()?;
        let sum = |figure: fn(&Self) -> u64| {
            parts.iter().fold(0_u64, |sum, part| sum.saturating_add(figure(part)))
        };
        Some(Self {
            at,
            cpu: sum(|part| part.cpu),
            processes: sum(|part| part.processes),
            usage: sum(|part| part.usage),
            inactive_file: sum(|part| part.inactive_file),
            limit: sum(|part| part.limit.min(NO_LIMIT)),
            rss: sum(|part| part.rss),
            faults: sum(|part| part.faults),
            major_faults: sum(|part| part.major_faults),
            ..Self::default()
        })
    }

    pub(super) fn cpu(&self, rate: Option<u64>) -> wire::CpuUsage {
        wire::CpuUsage {
            timestamp: self.at,
            usage_core_nano_seconds: value(self.cpu),
            usage_nano_cores: rate.and_then(value),
            psi: self.cpu_psi.as_ref().map(psi),
        }
    }

    pub(super) fn memory(&self) -> wire::MemoryUsage {
        let working_set = self.usage.saturating_sub(self.inactive_file);
        let available = available(self.limit, working_set);
        wire::MemoryUsage {
            timestamp: self.at,
            working_set_bytes: value(working_set),
            available_bytes: value(available),
            usage_bytes: value(self.usage),
            rss_bytes: value(self.rss),
            page_faults: value(self.faults),
            major_page_faults: value(self.major_faults),
            psi: self.memory_psi.as_ref().map(psi),
        }
    }

    /// What lies in swap. Without a limit nothing is said to be available, as of memory.
    pub(super) fn swap(&self) -> Option<wire::SwapUsage> {
        let (usage, limit) = self.swap?;
        Some(wire::SwapUsage {
            timestamp: self.at,
            swap_available_bytes: value(available(limit, usage)),
            swap_usage_bytes: value(usage),
        })
    }

    pub(super) fn io(&self) -> Option<wire::IoUsage> {
        let psi = Some(psi(self.io_psi.as_ref()?));
        Some(wire::IoUsage { timestamp: self.at, psi })
    }
}

/// What is left of a limit; nothing where there is none.
fn available(limit: u64, used: u64) -> u64 {
    if limit < NO_LIMIT { limit.saturating_sub(used) } else { 0 }
}

/// The kernel counts microseconds, the CRI nanoseconds.
fn psi(stalls: &v2::PsiStats) -> wire::PsiStats {
    let of = |data: &v2::PsiData| wire::PsiData {
        total: data.total.saturating_mul(1000),
        avg10: data.avg10,
        avg60: data.avg60,
        avg300: data.avg300,
    };
    wire::PsiStats { full: stalls.full.as_ref().map(of), some: stalls.some.as_ref().map(of) }
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn value(value: u64) -> Option<wire::UInt64Value> {
    Some(wire::UInt64Value { value })
}

#[cfg(test)]
mod tests {
    use berth_proto::pack;

    use super::*;

    fn metric(data: prost_types::Any) -> Metric {
        let timestamp = Some(prost_types::Timestamp { seconds: 2, nanos: 5 });
        Metric { timestamp, id: "c".into(), data: Some(data) }
    }

    #[test]
    fn figures_of_both_versions_are_told_alike() {
        let one = v1::Metrics {
            cpu: Some(v1::CpuStat {
                usage: Some(v1::CpuUsage { total: 7000, ..Default::default() }),
                ..Default::default()
            }),
            memory: Some(v1::MemoryStat {
                total_inactive_file: 30,
                total_rss: 50,
                usage: Some(v1::MemoryEntry { usage: 100, limit: 1000, ..Default::default() }),
                swap: Some(v1::MemoryEntry { usage: 110, limit: 1500, ..Default::default() }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let two = v2::Metrics {
            cpu: Some(v2::CpuStat { usage_usec: 7, ..Default::default() }),
            memory: Some(v2::MemoryStat {
                usage: 100,
                usage_limit: 1000,
                inactive_file: 30,
                anon: 50,
                swap_usage: 10,
                swap_limit: 500,
                ..Default::default()
            }),
            ..Default::default()
        };
        let [one, two] = [pack(&one), pack(&two)].map(|data| Measured::of(&metric(data)).unwrap());
        assert_eq!(one, two);
        assert_eq!(one.at, 2_000_000_005);
        let memory = one.memory();
        assert_eq!((memory.working_set_bytes, memory.available_bytes), (value(70), value(930)));
        let swap = one.swap().unwrap();
        assert_eq!((swap.swap_usage_bytes, swap.swap_available_bytes), (value(10), value(490)));
        let both = Measured::sum(&[&one, &two]).unwrap();
        assert_eq!((both.cpu, both.usage), (14_000, 200));
        assert_eq!(Measured::of(&metric(prost_types::Any::default())), None);
        assert_eq!(Measured::sum(&[]), None);
    }

    #[test]
    fn what_is_not_limited_has_nothing_available() {
        let all = Measured { usage: 1, limit: u64::MAX, ..Measured::default() };
        assert_eq!(all.memory().available_bytes, value(0));
        assert_eq!(all.swap(), None);
        let all = Measured { swap: Some((1, u64::MAX)), ..all };
        assert_eq!(all.swap().unwrap().swap_available_bytes, value(0));
    }
}
