//! Metrics of the first hierarchy, as containerd's message has them.

use std::path::Path;

use berth_cgroup::Place;
use berth_proto::io::containerd::cgroups::v1::{
    BlkIoEntry, BlkIoStat, CpuStat, CpuUsage, HugetlbStat, MemoryEntry, MemoryOomControl,
    MemoryStat, Metrics, PidsStat, Throttle,
};

use super::files::{Pairs, device, number, parse, text};

/// The kernel counts processor time of `cpuacct.stat` in these.
const NANOS_PER_TICK: u64 = 10_000_000;

pub(super) fn metrics(cgroup: &Place) -> Metrics {
    Metrics {
        hugetlb: cgroup.controller("hugetlb").map(hugetlb).unwrap_or_default(),
        pids: cgroup.controller("pids").map(pids),
        cpu: cgroup.controller("cpuacct").map(|acct| cpu(acct, cgroup.controller("cpu"))),
        memory: cgroup.controller("memory").map(memory),
        blkio: cgroup.controller("blkio").map(blkio),
        memory_oom_control: cgroup.controller("memory").map(oom_control),
        ..Metrics::default()
    }
}

fn pids(folder: &Path) -> PidsStat {
    let limit = text(folder, "pids.max");
    let limit = if limit.trim() == "max" { 0 } else { parse(limit.trim()) };
    PidsStat { current: number(folder, "pids.current"), limit }
}

fn cpu(acct: &Path, cpu: Option<&Path>) -> CpuStat {
    let ticks = Pairs::read(acct, "cpuacct.stat");
    let per_cpu = text(acct, "cpuacct.usage_percpu");
    let usage = CpuUsage {
        total: number(acct, "cpuacct.usage"),
        kernel: ticks.get("system") * NANOS_PER_TICK,
        user: ticks.get("user") * NANOS_PER_TICK,
        per_cpu: per_cpu.split_whitespace().map(parse).collect(),
    };
    let throttling = cpu.map(|folder| {
        let stat = Pairs::read(folder, "cpu.stat");
        Throttle {
            periods: stat.get("nr_periods"),
            throttled_periods: stat.get("nr_throttled"),
            throttled_time: stat.get("throttled_time"),
        }
    });
    CpuStat { usage: Some(usage), throttling }
}

fn entry(folder: &Path, kind: &str) -> Option<MemoryEntry> {
    let file = |suffix: &str| format!("memory.{kind}{suffix}");
    folder.join(file("usage_in_bytes")).exists().then(|| MemoryEntry {
        limit: number(folder, &file("limit_in_bytes")),
        usage: number(folder, &file("usage_in_bytes")),
        max: number(folder, &file("max_usage_in_bytes")),
        failcnt: number(folder, &file("failcnt")),
    })
}

fn memory(folder: &Path) -> MemoryStat {
    let stat = Pairs::read(folder, "memory.stat");
    MemoryStat {
        cache: stat.get("cache"),
        rss: stat.get("rss"),
        rss_huge: stat.get("rss_huge"),
        mapped_file: stat.get("mapped_file"),
        dirty: stat.get("dirty"),
        writeback: stat.get("writeback"),
        pg_pg_in: stat.get("pgpgin"),
        pg_pg_out: stat.get("pgpgout"),
        pg_fault: stat.get("pgfault"),
        pg_maj_fault: stat.get("pgmajfault"),
        inactive_anon: stat.get("inactive_anon"),
        active_anon: stat.get("active_anon"),
        inactive_file: stat.get("inactive_file"),
        active_file: stat.get("active_file"),
        unevictable: stat.get("unevictable"),
        hierarchical_memory_limit: stat.get("hierarchical_memory_limit"),
        hierarchical_swap_limit: stat.get("hierarchical_memsw_limit"),
        total_cache: stat.get("total_cache"),
        total_rss: stat.get("total_rss"),
        total_rss_huge: stat.get("total_rss_huge"),
        total_mapped_file: stat.get("total_mapped_file"),
        total_dirty: stat.get("total_dirty"),
        total_writeback: stat.get("total_writeback"),
        total_pg_pg_in: stat.get("total_pgpgin"),
        total_pg_pg_out: stat.get("total_pgpgout"),
        total_pg_fault: stat.get("total_pgfault"),
        total_pg_maj_fault: stat.get("total_pgmajfault"),
        total_inactive_anon: stat.get("total_inactive_anon"),
        total_active_anon: stat.get("total_active_anon"),
        total_inactive_file: stat.get("total_inactive_file"),
        total_active_file: stat.get("total_active_file"),
        total_unevictable: stat.get("total_unevictable"),
        usage: entry(folder, ""),
        swap: entry(folder, "memsw."),
        kernel: entry(folder, "kmem."),
        kernel_tcp: entry(folder, "kmem.tcp."),
    }
}

fn oom_control(folder: &Path) -> MemoryOomControl {
    let control = Pairs::read(folder, "memory.oom_control");
    MemoryOomControl {
        oom_kill_disable: control.get("oom_kill_disable"),
        under_oom: control.get("under_oom"),
        oom_kill: control.get("oom_kill"),
    }
}

fn hugetlb(folder: &Path) -> Vec<HugetlbStat> {
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let sizes = names.filter_map(|name| {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(".usage_in_bytes")?;
        (!size.ends_with("rsvd")).then(|| size.to_owned())
    });
    let stat = |size: String| HugetlbStat {
        usage: number(folder, &format!("hugetlb.{size}.usage_in_bytes")),
        max: number(folder, &format!("hugetlb.{size}.max_usage_in_bytes")),
        failcnt: number(folder, &format!("hugetlb.{size}.failcnt")),
        pagesize: size,
    };
    sizes.map(stat).collect()
}

fn blkio(folder: &Path) -> BlkIoStat {
    let bfq = !text(folder, "blkio.bfq.io_serviced_recursive").is_empty();
    let read = |name: &str| {
        if bfq {
            entries(folder, &format!("blkio.bfq.{name}_recursive"))
        } else {
            let recursive = entries(folder, &format!("blkio.{name}_recursive"));
            match name {
                "io_service_bytes" | "io_serviced" if recursive.is_empty() => {
                    entries(folder, &format!("blkio.throttle.{name}"))
                }
                _ => recursive,
            }
        }
    };
    BlkIoStat {
        io_service_bytes_recursive: read("io_service_bytes"),
        io_serviced_recursive: read("io_serviced"),
        io_queued_recursive: read("io_queued"),
        io_service_time_recursive: read("io_service_time"),
        io_wait_time_recursive: read("io_wait_time"),
        io_merged_recursive: read("io_merged"),
        io_time_recursive: read("time"),
        sectors_recursive: read("sectors"),
    }
}

/// Lines `major:minor op value`, or without the operation.
fn entries(folder: &Path, name: &str) -> Vec<BlkIoEntry> {
    let text = text(folder, name);
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (major, minor) = device(words.next()?)?;
        let (op, value) = match (words.next()?, words.next()) {
            (op, Some(value)) => (op, value),
            (value, None) => ("", value),
        };
        let value = value.parse().ok()?;
        Some(BlkIoEntry { op: op.to_owned(), device: String::new(), major, minor, value })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("pids.current", "3\n");
        write("pids.max", "max\n");
        write("cpuacct.usage", "70000000\n");
        write("cpuacct.stat", "user 5\nsystem 2\n");
        write("cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 77\n");
        write("memory.stat", "cache 1\ntotal_cache 2\ntotal_inactive_file 3\n");
        write("memory.usage_in_bytes", "100\n");
        write("memory.limit_in_bytes", "9223372036854771712\n");
        write("memory.memsw.usage_in_bytes", "150\n");
        write("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        write("blkio.throttle.io_service_bytes", "254:0 Read 10\n254:0 Write 20\nTotal 30\n");
        let all = ["pids", "cpu", "cpuacct", "memory", "blkio"];
        let place = Place::V1(all.map(|name| (name.to_owned(), dir.path().to_owned())).into());
        let metrics = metrics(&place);
        assert_eq!(metrics.pids.unwrap(), PidsStat { current: 3, limit: 0 });
        let cpu = metrics.cpu.unwrap();
        let usage = cpu.usage.unwrap();
        assert_eq!((usage.total, usage.user, usage.kernel), (70_000_000, 50_000_000, 20_000_000));
        assert_eq!(cpu.throttling.unwrap().throttled_time, 77);
        let memory = metrics.memory.unwrap();
        assert_eq!((memory.cache, memory.total_cache, memory.total_inactive_file), (1, 2, 3));
        assert_eq!((memory.usage.unwrap().usage, memory.swap.unwrap().usage), (100, 150));
        assert_eq!(memory.kernel, None);
        assert_eq!(metrics.memory_oom_control.unwrap().oom_kill, 2);
        let [read, write] = &*metrics.blkio.unwrap().io_service_bytes_recursive else { panic!() };
        assert_eq!((read.op.as_str(), read.major, read.value, write.value), ("Read", 254, 10, 20));
        assert!(metrics.hugetlb.is_empty());
    }
}
