//! What shims measure, which is the message of the cgroup's version.

mod lists;

use berth_metrics::Samples;
use berth_proto::io::containerd::cgroups::{v1, v2};
use berth_proto::unpack;

use self::lists::List;
use super::options::wire;
use crate::records::Any;
use crate::usage::Usage;

/// What a container has used; nothing if its runtime measures otherwise.
#[must_use]
pub fn usage(stats: &Any) -> Option<Usage> {
    let stats = wire(stats);
    match (unpack::<v1::Metrics>(&stats), unpack::<v2::Metrics>(&stats)) {
        (Some(Ok(metrics)), _) => Some(of_v1(metrics)),
        (_, Some(Ok(metrics))) => Some(of_v2(metrics)),
        _ => None,
    }
}

/// The kernel says "no limit" with numbers that no machine has, and shims with 0.
fn limit(value: u64) -> Option<u64> {
    (1..1 << 60).contains(&value).then_some(value)
}

fn of_v1(metrics: v1::Metrics) -> Usage {
    let cpu = metrics.cpu.unwrap_or_default();
    let memory = metrics.memory.unwrap_or_default();
    let in_use = memory.usage.unwrap_or_default();
    let pids = metrics.pids.unwrap_or_default();
    let io = metrics.blkio.unwrap_or_default().io_service_bytes_recursive;
    let of = |op: &str| {
        total(io.iter().filter(|entry| entry.op.eq_ignore_ascii_case(op)).map(|entry| entry.value))
    };
    Usage {
        cpu: seconds(cpu.usage.map_or(0, |usage| usage.total)),
        throttled: seconds(cpu.throttling.map_or(0, |throttle| throttle.throttled_time)),
        memory: in_use.usage.saturating_sub(memory.total_inactive_file),
        memory_limit: limit(in_use.limit),
        oom_kills: metrics.memory_oom_control.map_or(0, |control| control.oom_kill),
        pids: pids.current,
        pids_limit: limit(pids.limit),
        read: of("read"),
        written: of("write"),
    }
}

fn of_v2(metrics: v2::Metrics) -> Usage {
    let cpu = metrics.cpu.unwrap_or_default();
    let memory = metrics.memory.unwrap_or_default();
    let pids = metrics.pids.unwrap_or_default();
    let io = metrics.io.unwrap_or_default().usage;
    Usage {
        cpu: seconds(cpu.usage_usec.saturating_mul(1000)),
        throttled: seconds(cpu.throttled_usec.saturating_mul(1000)),
        memory: memory.usage.saturating_sub(memory.inactive_file),
        memory_limit: limit(memory.usage_limit),
        oom_kills: metrics.memory_events.map_or(0, |events| events.oom_kill),
        pids: pids.current,
        pids_limit: limit(pids.limit),
        read: total(io.iter().map(|entry| entry.rbytes)),
        written: total(io.iter().map(|entry| entry.wbytes)),
    }
}

/// Shims say what they like.
fn total(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}

fn seconds(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}

/// The same by containerd's names, which are those of the cgroup's version, of a container that `runtime`
/// runs.
pub fn tell_as_containerd(samples: &mut Samples, ns: &str, id: &str, runtime: &str, stats: &Any) {
    let stats = wire(stats);
    let of = [("container_id", id), ("namespace", ns), ("runtime", runtime)];
    match (unpack::<v1::Metrics>(&stats), unpack::<v2::Metrics>(&stats)) {
        (Some(Ok(metrics)), _) => {
            tell_v1(samples, of, &metrics);
            lists::of_v1(&mut List::new(samples, of), &metrics);
        }
        (_, Some(Ok(metrics))) => {
            tell_v2(samples, of, &metrics);
            lists::of_v2(&mut List::new(samples, of), &metrics);
        }
        _ => {}
    }
}

type Of<'a> = [(&'a str, &'a str); 3];

const HELP: &str = "What the cgroup of a container says";

fn put(samples: &mut Samples, of: Of<'_>, values: &[(&'static str, u64)]) {
    for (name, value) in values {
        samples.gauge(name, HELP).sample(&of, value);
    }
}

fn tell_v1(samples: &mut Samples, of: Of<'_>, metrics: &v1::Metrics) {
    if let Some(pids) = &metrics.pids {
        let values =
            [("container_pids_limit", pids.limit), ("container_pids_current", pids.current)];
        put(samples, of, &values);
    }
    let cpu = metrics.cpu.as_ref();
    if let Some(usage) = cpu.and_then(|cpu| cpu.usage.as_ref()) {
        let values = [
            ("container_cpu_total_nanoseconds", usage.total),
            ("container_cpu_kernel_nanoseconds", usage.kernel),
            ("container_cpu_user_nanoseconds", usage.user),
        ];
        put(samples, of, &values);
    }
    if let Some(throttling) = cpu.and_then(|cpu| cpu.throttling.as_ref()) {
        let values = [
            ("container_cpu_throttle_periods_total", throttling.periods),
            ("container_cpu_throttled_periods_total", throttling.throttled_periods),
            ("container_cpu_throttled_time_nanoseconds", throttling.throttled_time),
        ];
        put(samples, of, &values);
    }
    if let Some(memory) = &metrics.memory {
        memory_v1(samples, of, memory);
    }
    if let Some(control) = &metrics.memory_oom_control {
        // containerd tells these apart from the rest, without the runtime.
        let [id, namespace, _] = of;
        samples
            .gauge("container_memory_oom_total", HELP)
            .sample(&[id, namespace], control.oom_kill);
    }
}

fn memory_v1(samples: &mut Samples, of: Of<'_>, memory: &v1::MemoryStat) {
    let values = [
        ("container_memory_cache_bytes", memory.cache),
        ("container_memory_rss_bytes", memory.rss),
        ("container_memory_rss_huge_bytes", memory.rss_huge),
        ("container_memory_mapped_file_bytes", memory.mapped_file),
        ("container_memory_dirty_bytes", memory.dirty),
        ("container_memory_writeback_bytes", memory.writeback),
        ("container_memory_pgpgin_bytes", memory.pg_pg_in),
        ("container_memory_pgpgout_bytes", memory.pg_pg_out),
        ("container_memory_pgfault_bytes", memory.pg_fault),
        ("container_memory_pgmajfault_bytes", memory.pg_maj_fault),
        ("container_memory_inactive_anon_bytes", memory.inactive_anon),
        ("container_memory_active_anon_bytes", memory.active_anon),
        ("container_memory_inactive_file_bytes", memory.inactive_file),
        ("container_memory_active_file_bytes", memory.active_file),
        ("container_memory_unevictable_bytes", memory.unevictable),
        ("container_memory_hierarchical_memory_limit_bytes", memory.hierarchical_memory_limit),
        ("container_memory_hierarchical_memsw_limit_bytes", memory.hierarchical_swap_limit),
        ("container_memory_total_cache_bytes", memory.total_cache),
        ("container_memory_total_rss_bytes", memory.total_rss),
        ("container_memory_total_rss_huge_bytes", memory.total_rss_huge),
        ("container_memory_total_mapped_file_bytes", memory.total_mapped_file),
        ("container_memory_total_dirty_bytes", memory.total_dirty),
        ("container_memory_total_writeback_bytes", memory.total_writeback),
        ("container_memory_total_pgpgin_bytes", memory.total_pg_pg_in),
        ("container_memory_total_pgpgout_bytes", memory.total_pg_pg_out),
        ("container_memory_total_pgfault_bytes", memory.total_pg_fault),
        ("container_memory_total_pgmajfault_bytes", memory.total_pg_maj_fault),
        ("container_memory_total_inactive_anon_bytes", memory.total_inactive_anon),
        ("container_memory_total_active_anon_bytes", memory.total_active_anon),
        ("container_memory_total_inactive_file_bytes", memory.total_inactive_file),
        ("container_memory_total_active_file_bytes", memory.total_active_file),
        ("container_memory_total_unevictable_bytes", memory.total_unevictable),
    ];
    put(samples, of, &values);
    macro_rules! entry {
        ($entry:ident, $kind:literal) => {
            if let Some(entry) = &memory.$entry {
                let values = [
                    (concat!("container_memory_", $kind, "_failcnt_total"), entry.failcnt),
                    (concat!("container_memory_", $kind, "_limit_bytes"), entry.limit),
                    (concat!("container_memory_", $kind, "_max_bytes"), entry.max),
                    (concat!("container_memory_", $kind, "_usage_bytes"), entry.usage),
                ];
                put(samples, of, &values);
            }
        };
    }
    entry!(usage, "usage");
    entry!(swap, "swap");
    entry!(kernel, "kernel");
    entry!(kernel_tcp, "kerneltcp");
}

fn tell_v2(samples: &mut Samples, of: Of<'_>, metrics: &v2::Metrics) {
    if let Some(pids) = &metrics.pids {
        let values =
            [("container_pids_limit", pids.limit), ("container_pids_current", pids.current)];
        put(samples, of, &values);
    }
    if let Some(cpu) = &metrics.cpu {
        let values = [
            ("container_cpu_usage_usec_microseconds", cpu.usage_usec),
            ("container_cpu_user_usec_microseconds", cpu.user_usec),
            ("container_cpu_system_usec_microseconds", cpu.system_usec),
            ("container_cpu_nr_periods_total", cpu.nr_periods),
            ("container_cpu_nr_throttled_total", cpu.nr_throttled),
            ("container_cpu_throttled_usec_microseconds", cpu.throttled_usec),
        ];
        put(samples, of, &values);
    }
    if let Some(memory) = &metrics.memory {
        memory_v2(samples, of, memory);
    }
    if let Some(events) = &metrics.memory_events {
        put(samples, of, &[("container_memory_oom_total", events.oom)]);
    }
}

fn memory_v2(samples: &mut Samples, of: Of<'_>, memory: &v2::MemoryStat) {
    let values = [
        ("container_memory_usage_bytes", memory.usage),
        ("container_memory_usage_limit_bytes", memory.usage_limit),
        ("container_memory_swap_usage_bytes", memory.swap_usage),
        ("container_memory_swap_limit_bytes", memory.swap_limit),
        ("container_memory_file_mapped_bytes", memory.file_mapped),
        ("container_memory_file_dirty_bytes", memory.file_dirty),
        ("container_memory_file_writeback_bytes", memory.file_writeback),
        ("container_memory_pgactivate_bytes", memory.pgactivate),
        ("container_memory_pgdeactivate_bytes", memory.pgdeactivate),
        ("container_memory_pgfault_bytes", memory.pgfault),
        ("container_memory_pgmajfault_bytes", memory.pgmajfault),
        ("container_memory_pglazyfree_bytes", memory.pglazyfree),
        ("container_memory_pgrefill_bytes", memory.pgrefill),
        ("container_memory_pglazyfreed_bytes", memory.pglazyfreed),
        ("container_memory_pgscan_bytes", memory.pgscan),
        ("container_memory_pgsteal_bytes", memory.pgsteal),
        ("container_memory_inactive_anon_bytes", memory.inactive_anon),
        ("container_memory_active_anon_bytes", memory.active_anon),
        ("container_memory_inactive_file_bytes", memory.inactive_file),
        ("container_memory_active_file_bytes", memory.active_file),
        ("container_memory_unevictable_bytes", memory.unevictable),
        ("container_memory_anon_bytes", memory.anon),
        ("container_memory_file_bytes", memory.file),
        ("container_memory_kernel_stack_bytes", memory.kernel_stack),
        ("container_memory_slab_bytes", memory.slab),
        ("container_memory_sock_bytes", memory.sock),
        ("container_memory_shmem_bytes", memory.shmem),
        ("container_memory_anon_thp_bytes", memory.anon_thp),
        ("container_memory_slab_reclaimable_bytes", memory.slab_reclaimable),
        ("container_memory_slab_unreclaimable_bytes", memory.slab_unreclaimable),
        ("container_memory_workingset_refault_bytes", memory.workingset_refault),
        ("container_memory_workingset_activate_bytes", memory.workingset_activate),
        ("container_memory_workingset_nodereclaim_bytes", memory.workingset_nodereclaim),
        ("container_memory_thp_fault_alloc_bytes", memory.thp_fault_alloc),
        ("container_memory_thp_collapse_alloc_bytes", memory.thp_collapse_alloc),
    ];
    put(samples, of, &values);
}

#[cfg(test)]
mod tests {
    use super::super::options::domain;
    use super::*;

    #[test]
    fn both_versions_of_cgroups_are_told() {
        let entry = |op: &str, value| v1::BlkIoEntry { op: op.into(), value, ..Default::default() };
        let io = [entry("Read", 3), entry("Write", 4), entry("Total", 7), entry("read", 1)];
        let one = v1::Metrics {
            pids: Some(v1::PidsStat { current: 3, limit: 0 }),
            cpu: Some(v1::CpuStat {
                usage: Some(v1::CpuUsage { total: 1_500_000_000, ..Default::default() }),
                throttling: None,
            }),
            memory: Some(v1::MemoryStat {
                total_inactive_file: 10,
                usage: Some(v1::MemoryEntry {
                    usage: 30,
                    limit: u64::MAX >> 1,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            blkio: Some(v1::BlkIoStat {
                io_service_bytes_recursive: io.to_vec(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let told = usage(&domain(berth_proto::pack(&one))).unwrap();
        let expected =
            Usage { cpu: 1.5, memory: 20, pids: 3, read: 4, written: 4, ..Usage::default() };
        assert_eq!(told, expected);
        let two = v2::Metrics {
            cpu: Some(v2::CpuStat { usage_usec: 500_000, ..Default::default() }),
            memory: Some(v2::MemoryStat { usage: 5, usage_limit: 9, ..Default::default() }),
            memory_events: Some(v2::MemoryEvents { oom: 2, oom_kill: 1, ..Default::default() }),
            ..Default::default()
        };
        let stats = domain(berth_proto::pack(&two));
        let expected =
            Usage { cpu: 0.5, memory: 5, memory_limit: Some(9), oom_kills: 1, ..Usage::default() };
        assert_eq!(usage(&stats), Some(expected));
        let mut samples = Samples::default();
        tell_as_containerd(&mut samples, "n", "c", "r", &stats);
        let text = samples.text();
        let labels = "{container_id=\"c\",namespace=\"n\",runtime=\"r\"}";
        assert!(text.contains(&format!("container_memory_oom_total{labels} 2\n")), "{text}");
        assert!(text.contains(&format!("container_cpu_usage_usec_microseconds{labels} 500000\n")));
        assert_eq!(usage(&Any { type_url: "windows".into(), ..Any::default() }), None);
    }
}
