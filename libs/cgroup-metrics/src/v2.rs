//! Metrics of the second hierarchy, as containerd's message has them.

use std::path::Path;

use berth_proto::io::containerd::cgroups::v2::{
    CpuStat, HugeTlbStat, IoEntry, IoStat, MemoryEvents, MemoryStat, Metrics, PidsStat, PsiData,
    PsiStats,
};

use super::files::{Pairs, device, number, text};

pub(super) fn metrics(folder: &Path) -> Metrics {
    Metrics {
        pids: Some(PidsStat {
            current: number(folder, "pids.current"),
            limit: number(folder, "pids.max"),
        }),
        cpu: Some(cpu(folder)),
        memory: Some(memory(folder)),
        io: Some(IoStat { usage: io(&text(folder, "io.stat")), psi: pressure(folder, "io") }),
        hugetlb: hugetlb(folder),
        memory_events: Some(events(folder)),
        ..Metrics::default()
    }
}

fn cpu(folder: &Path) -> CpuStat {
    let stat = Pairs::read(folder, "cpu.stat");
    CpuStat {
        usage_usec: stat.get("usage_usec"),
        user_usec: stat.get("user_usec"),
        system_usec: stat.get("system_usec"),
        nr_periods: stat.get("nr_periods"),
        nr_throttled: stat.get("nr_throttled"),
        throttled_usec: stat.get("throttled_usec"),
        psi: pressure(folder, "cpu"),
        nr_bursts: stat.get("nr_bursts"),
        burst_usec: stat.get("burst_usec"),
    }
}

fn memory(folder: &Path) -> MemoryStat {
    let stat = Pairs::read(folder, "memory.stat");
    MemoryStat {
        anon: stat.get("anon"),
        file: stat.get("file"),
        kernel_stack: stat.get("kernel_stack"),
        slab: stat.get("slab"),
        sock: stat.get("sock"),
        shmem: stat.get("shmem"),
        file_mapped: stat.get("file_mapped"),
        file_dirty: stat.get("file_dirty"),
        file_writeback: stat.get("file_writeback"),
        anon_thp: stat.get("anon_thp"),
        inactive_anon: stat.get("inactive_anon"),
        active_anon: stat.get("active_anon"),
        inactive_file: stat.get("inactive_file"),
        active_file: stat.get("active_file"),
        unevictable: stat.get("unevictable"),
        slab_reclaimable: stat.get("slab_reclaimable"),
        slab_unreclaimable: stat.get("slab_unreclaimable"),
        pgfault: stat.get("pgfault"),
        pgmajfault: stat.get("pgmajfault"),
        workingset_refault: stat.get("workingset_refault"),
        workingset_activate: stat.get("workingset_activate"),
        workingset_nodereclaim: stat.get("workingset_nodereclaim"),
        pgrefill: stat.get("pgrefill"),
        pgscan: stat.get("pgscan"),
        pgsteal: stat.get("pgsteal"),
        pgactivate: stat.get("pgactivate"),
        pgdeactivate: stat.get("pgdeactivate"),
        pglazyfree: stat.get("pglazyfree"),
        pglazyfreed: stat.get("pglazyfreed"),
        thp_fault_alloc: stat.get("thp_fault_alloc"),
        thp_collapse_alloc: stat.get("thp_collapse_alloc"),
        usage: number(folder, "memory.current"),
        usage_limit: number(folder, "memory.max"),
        swap_usage: number(folder, "memory.swap.current"),
        swap_limit: number(folder, "memory.swap.max"),
        max_usage: number(folder, "memory.peak"),
        swap_max_usage: number(folder, "memory.swap.peak"),
        psi: pressure(folder, "memory"),
        workingset_refault_anon: stat.get("workingset_refault_anon"),
        workingset_refault_file: stat.get("workingset_refault_file"),
        workingset_activate_anon: stat.get("workingset_activate_anon"),
        workingset_activate_file: stat.get("workingset_activate_file"),
    }
}

fn events(folder: &Path) -> MemoryEvents {
    let events = Pairs::read(folder, "memory.events");
    MemoryEvents {
        low: events.get("low"),
        high: events.get("high"),
        max: events.get("max"),
        oom: events.get("oom"),
        oom_kill: events.get("oom_kill"),
        oom_group_kill: events.get("oom_group_kill"),
    }
}

/// Lines `major:minor rbytes=1 wbytes=2 ...`.
fn io(text: &str) -> Vec<IoEntry> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (major, minor) = device(words.next()?)?;
        let mut entry = IoEntry { major, minor, ..IoEntry::default() };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => entry.rbytes = value,
                "wbytes" => entry.wbytes = value,
                "rios" => entry.rios = value,
                "wios" => entry.wios = value,
                _ => {}
            }
        }
        Some(entry)
    });
    lines.collect()
}

fn pressure(folder: &Path, of: &str) -> Option<PsiStats> {
    let text = text(folder, &format!("{of}.pressure"));
    let line = |kind: &str| text.lines().find_map(|line| line.strip_prefix(kind)).map(psi);
    (!text.is_empty()).then(|| PsiStats { some: line("some "), full: line("full ") })
}

/// `avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn psi(line: &str) -> PsiData {
    let value = |key: &str| {
        let mut words = line.split(' ').filter_map(|word| word.split_once('='));
        words.find(|(known, _)| *known == key).map_or("0", |(_, value)| value)
    };
    PsiData {
        avg10: value("avg10").parse().unwrap_or(0.0),
        avg60: value("avg60").parse().unwrap_or(0.0),
        avg300: value("avg300").parse().unwrap_or(0.0),
        total: value("total").parse().unwrap_or(0),
    }
}

fn hugetlb(folder: &Path) -> Vec<HugeTlbStat> {
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let sizes = names.filter_map(|name| {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(".current")?;
        (!size.ends_with("rsvd")).then(|| size.to_owned())
    });
    let stat = |size: String| HugeTlbStat {
        current: number(folder, &format!("hugetlb.{size}.current")),
        max: number(folder, &format!("hugetlb.{size}.max")),
        failcnt: Pairs::read(folder, &format!("hugetlb.{size}.events")).get("max"),
        pagesize: size,
    };
    sizes.map(stat).collect()
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
        write("cpu.stat", "usage_usec 100\nuser_usec 60\nsystem_usec 40\n");
        write("memory.stat", "anon 4096\nfile 1\nfile_mapped 2\n");
        write("memory.events", "low 0\noom 1\noom_kill 2\n");
        write("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:16\n");
        write("cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\n");
        let metrics = metrics(dir.path());
        assert_eq!(metrics.pids.unwrap(), PidsStat { current: 3, limit: u64::MAX });
        let cpu = metrics.cpu.unwrap();
        assert_eq!((cpu.usage_usec, cpu.psi.unwrap().some.unwrap().total), (100, 7));
        let memory = metrics.memory.unwrap();
        assert_eq!((memory.anon, memory.file, memory.file_mapped), (4096, 1, 2));
        assert_eq!(metrics.memory_events.unwrap().oom_kill, 2);
        assert_eq!(metrics.io.unwrap().usage[0].wios, 4);
    }
}
