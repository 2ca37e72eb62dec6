//! A shim's figures of a control group, of either version, as samples. What was not measured is not told.

use berth_proto::io::containerd::cgroups::{v1, v2};
use berth_proto::unpack;
use prost_types::Any;

use super::devices::Devices;
use super::families as of;
use super::samples::Samples;

/// The kernel counts time in nanoseconds, or microseconds.
const NANOSECONDS: u64 = 1_000_000_000;
const MICROSECONDS: u64 = 1_000_000;
/// Limits above it are none.
const NO_LIMIT: u64 = 1 << 62;
/// So many devices of a container are told of.
const DEVICES: usize = 64;

/// Adds them. Answers whether the figures are of a kind that is known.
pub(super) fn add(samples: &mut Samples, data: &Any, devices: &mut Devices) -> bool {
    match (unpack::<v1::Metrics>(data), unpack::<v2::Metrics>(data)) {
        (Some(Ok(metrics)), _) => of_v1(samples, &metrics, devices),
        (_, Some(Ok(metrics))) => of_v2(samples, &metrics, devices),
        _ => return false,
    }
    true
}

fn of_v1(samples: &mut Samples, metrics: &v1::Metrics, devices: &mut Devices) {
    if let Some(cpu) = &metrics.cpu {
        if let Some(usage) = &cpu.usage {
            samples.add(&of::CPU_USER, usage.user / NANOSECONDS);
            samples.add(&of::CPU_SYSTEM, usage.kernel / NANOSECONDS);
            samples.add(&of::CPU_USAGE, usage.total / NANOSECONDS);
        }
        if let Some(throttle) = &cpu.throttling {
            samples.add(&of::PERIODS, throttle.periods);
            samples.add(&of::THROTTLED_PERIODS, throttle.throttled_periods);
            samples.add(&of::THROTTLED, throttle.throttled_time / NANOSECONDS);
        }
    }
    if let Some(memory) = &metrics.memory {
        memory_of_v1(samples, memory);
    }
    if let Some(control) = &metrics.memory_oom_control {
        samples.add(&of::OOM, control.oom_kill);
    }
    if let Some(io) = &metrics.blkio {
        let bytes = io.io_service_bytes_recursive.iter().take(DEVICES * 8);
        for entry in bytes {
            let device = devices.name(entry.major, entry.minor);
            let (major, minor) = (entry.major.to_string(), entry.minor.to_string());
            samples.add_with(&of::BLKIO, [&*device, &*major, &*minor, &*entry.op], entry.value);
            if let Some(family) = by_direction(&entry.op, &of::READ_BYTES, &of::WRITTEN_BYTES) {
                samples.add_with(family, [&*device], entry.value);
            }
        }
        for entry in io.io_serviced_recursive.iter().take(DEVICES * 8) {
            if let Some(family) = by_direction(&entry.op, &of::READS, &of::WRITES) {
                samples.add_with(family, [&*devices.name(entry.major, entry.minor)], entry.value);
            }
        }
    }
    if let Some(pids) = &metrics.pids {
        threads(samples, pids.current, pids.limit);
    }
}

fn memory_of_v1(samples: &mut Samples, memory: &v1::MemoryStat) {
    samples.add(&of::CACHE, memory.total_cache);
    samples.add(&of::RSS, memory.total_rss);
    if let Some(kernel) = &memory.kernel {
        samples.add(&of::KERNEL, kernel.usage);
    }
    samples.add(&of::MAPPED, memory.total_mapped_file);
    if let Some(usage) = &memory.usage {
        // The kernel counts it together with memory there.
        if let Some(both) = &memory.swap {
            samples.add(&of::SWAP, both.usage.saturating_sub(usage.usage));
        }
        samples.add(&of::FAILCNT, usage.failcnt);
        samples.add(&of::MEMORY, usage.usage);
        samples.add(&of::MOST_MEMORY, usage.max);
        samples.add(&of::WORKING_SET, usage.usage.saturating_sub(memory.total_inactive_file));
    }
    samples.add(&of::ACTIVE_FILE, memory.total_active_file);
    samples.add(&of::INACTIVE_FILE, memory.total_inactive_file);
    faults(samples, "container", memory.pg_fault, memory.pg_maj_fault);
    faults(samples, "hierarchy", memory.total_pg_fault, memory.total_pg_maj_fault);
}

fn of_v2(samples: &mut Samples, metrics: &v2::Metrics, devices: &mut Devices) {
    if let Some(cpu) = &metrics.cpu {
        samples.add(&of::CPU_USER, cpu.user_usec / MICROSECONDS);
        samples.add(&of::CPU_SYSTEM, cpu.system_usec / MICROSECONDS);
        samples.add(&of::CPU_USAGE, cpu.usage_usec / MICROSECONDS);
        samples.add(&of::PERIODS, cpu.nr_periods);
        samples.add(&of::THROTTLED_PERIODS, cpu.nr_throttled);
        samples.add(&of::THROTTLED, cpu.throttled_usec / MICROSECONDS);
    }
    if let Some(memory) = &metrics.memory {
        samples.add(&of::CACHE, memory.file);
        samples.add(&of::RSS, memory.anon);
        let kernel = memory.kernel_stack.saturating_add(memory.slab).saturating_add(memory.sock);
        samples.add(&of::KERNEL, kernel);
        samples.add(&of::MAPPED, memory.file_mapped);
        samples.add(&of::SWAP, memory.swap_usage);
        samples.add(&of::MEMORY, memory.usage);
        // Kernels before 5.19 do not keep it.
        if memory.max_usage > 0 {
            samples.add(&of::MOST_MEMORY, memory.max_usage);
        }
        samples.add(&of::WORKING_SET, memory.usage.saturating_sub(memory.inactive_file));
        samples.add(&of::ACTIVE_FILE, memory.active_file);
        samples.add(&of::INACTIVE_FILE, memory.inactive_file);
        // There is no count without what is below.
        faults(samples, "container", memory.pgfault, memory.pgmajfault);
        faults(samples, "hierarchy", memory.pgfault, memory.pgmajfault);
    }
    if let Some(events) = &metrics.memory_events {
        samples.add(&of::FAILCNT, events.max);
        samples.add(&of::OOM, events.oom_kill);
    }
    for entry in metrics.io.iter().flat_map(|io| &io.usage).take(DEVICES) {
        let device = &*devices.name(entry.major, entry.minor);
        let (major, minor) = (entry.major.to_string(), entry.minor.to_string());
        samples.add_with(&of::READ_BYTES, [device], entry.rbytes);
        samples.add_with(&of::READS, [device], entry.rios);
        samples.add_with(&of::WRITTEN_BYTES, [device], entry.wbytes);
        samples.add_with(&of::WRITES, [device], entry.wios);
        samples.add_with(&of::BLKIO, [device, &*major, &*minor, "Read"], entry.rbytes);
        samples.add_with(&of::BLKIO, [device, &*major, &*minor, "Write"], entry.wbytes);
    }
    if let Some(pids) = &metrics.pids {
        threads(samples, pids.current, pids.limit);
    }
}

/// The kernel counts threads where it says pids.
fn threads(samples: &mut Samples, now: u64, most: u64) {
    samples.add(&of::THREADS, now);
    samples.add(&of::MOST_THREADS, if most < NO_LIMIT { most } else { 0 });
}

fn faults(samples: &mut Samples, scope: &str, all: u64, from_disk: u64) {
    samples.add_with(&of::FAULTS, ["pgfault", scope], all);
    samples.add_with(&of::FAULTS, ["pgmajfault", scope], from_disk);
}

fn by_direction<T>(op: &str, read: T, written: T) -> Option<T> {
    match op {
        op if op.eq_ignore_ascii_case("read") => Some(read),
        op if op.eq_ignore_ascii_case("write") => Some(written),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use berth_proto::pack;

    use super::*;

    /// Values by name and own labels.
    fn told(data: &Any) -> BTreeMap<String, u64> {
        let mut samples = Samples::new(Vec::new(), 1);
        assert!(add(&mut samples, data, &mut Devices::default()));
        let told = samples.into_iter().map(|one| {
            let labels = one.label_values.join(" ");
            (format!("{} {labels}", one.name).trim().to_owned(), one.value.unwrap().value)
        });
        told.collect()
    }

    fn shared(told: &BTreeMap<String, u64>) {
        for (name, value) in [
            ("container_cpu_user_seconds_total", 1),
            ("container_cpu_system_seconds_total", 2),
            ("container_cpu_usage_seconds_total", 3),
            ("container_cpu_cfs_periods_total", 7),
            ("container_cpu_cfs_throttled_periods_total", 5),
            ("container_cpu_cfs_throttled_seconds_total", 4),
            ("container_memory_cache", 11),
            ("container_memory_rss", 12),
            ("container_memory_kernel_usage", 60),
            ("container_memory_mapped_file", 13),
            ("container_memory_swap", 10),
            ("container_memory_failcnt", 6),
            ("container_memory_usage_bytes", 100),
            ("container_memory_max_usage_bytes", 120),
            ("container_memory_working_set_bytes", 70),
            ("container_memory_total_active_file_bytes", 15),
            ("container_memory_total_inactive_file_bytes", 30),
            ("container_memory_failures_total pgfault hierarchy", 22),
            ("container_memory_failures_total pgmajfault hierarchy", 3),
            ("container_oom_events_total", 2),
            ("container_fs_reads_bytes_total 4095:7", 512),
            ("container_fs_writes_bytes_total 4095:7", 1024),
            ("container_fs_reads_total 4095:7", 1),
            ("container_fs_writes_total 4095:7", 2),
            ("container_blkio_device_usage_total 4095:7 4095 7 Read", 512),
            ("container_blkio_device_usage_total 4095:7 4095 7 Write", 1024),
            ("container_threads", 9),
            ("container_threads_max", 0),
        ] {
            assert_eq!(told.get(name), Some(&value), "{name} of {told:#?}");
        }
    }

    #[test]
    fn the_first_version_is_told() {
        let entry = |op: &str, value| v1::BlkIoEntry {
            op: op.to_owned(),
            major: 4095,
            minor: 7,
            value,
            ..Default::default()
        };
        let second = NANOSECONDS;
        let metrics = v1::Metrics {
            pids: Some(v1::PidsStat { current: 9, limit: 0 }),
            cpu: Some(v1::CpuStat {
                usage: Some(v1::CpuUsage {
                    total: 3 * second + 999_999_999,
                    kernel: 2 * second,
                    user: second,
                    ..Default::default()
                }),
                throttling: Some(v1::Throttle {
                    periods: 7,
                    throttled_periods: 5,
                    throttled_time: 4 * second,
                }),
            }),
            memory: Some(v1::MemoryStat {
                total_cache: 11,
                total_rss: 12,
                total_mapped_file: 13,
                total_active_file: 15,
                total_inactive_file: 30,
                pg_fault: 20,
                total_pg_fault: 22,
                total_pg_maj_fault: 3,
                usage: Some(v1::MemoryEntry { usage: 100, max: 120, failcnt: 6, limit: u64::MAX }),
                swap: Some(v1::MemoryEntry { usage: 110, ..Default::default() }),
                kernel: Some(v1::MemoryEntry { usage: 60, ..Default::default() }),
                ..Default::default()
            }),
            memory_oom_control: Some(v1::MemoryOomControl { oom_kill: 2, ..Default::default() }),
            blkio: Some(v1::BlkIoStat {
                io_service_bytes_recursive: vec![
                    entry("Read", 512),
                    entry("Write", 1024),
                    entry("Total", 1536),
                ],
                io_serviced_recursive: vec![entry("Read", 1), entry("Write", 2)],
                ..Default::default()
            }),
            ..Default::default()
        };
        let told = told(&pack(&metrics));
        shared(&told);
        assert_eq!(told["container_memory_failures_total pgfault container"], 20);
        assert_eq!(told["container_blkio_device_usage_total 4095:7 4095 7 Total"], 1536);
    }

    #[test]
    fn the_second_version_is_told() {
        let metrics = v2::Metrics {
            pids: Some(v2::PidsStat { current: 9, limit: u64::MAX }),
            cpu: Some(v2::CpuStat {
                usage_usec: 3_999_999,
                user_usec: 1_000_000,
                system_usec: 2_000_000,
                nr_periods: 7,
                nr_throttled: 5,
                throttled_usec: 4_000_000,
                ..Default::default()
            }),
            memory: Some(v2::MemoryStat {
                anon: 12,
                file: 11,
                kernel_stack: 10,
                slab: 20,
                sock: 30,
                file_mapped: 13,
                inactive_file: 30,
                active_file: 15,
                pgfault: 22,
                pgmajfault: 3,
                usage: 100,
                max_usage: 120,
                swap_usage: 10,
                ..Default::default()
            }),
            memory_events: Some(v2::MemoryEvents { max: 6, oom_kill: 2, ..Default::default() }),
            io: Some(v2::IoStat {
                usage: vec![v2::IoEntry {
                    major: 4095,
                    minor: 7,
                    rbytes: 512,
                    wbytes: 1024,
                    rios: 1,
                    wios: 2,
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        shared(&told(&pack(&metrics)));
    }

    #[test]
    fn what_is_neither_is_not_told() {
        let mut samples = Samples::new(Vec::new(), 1);
        assert!(!add(&mut samples, &Any::default(), &mut Devices::default()));
        assert_eq!(samples.into_iter().count(), 0);
    }
}
