//! What the shim of a container lists: of processors, devices, page sizes. How many there are and what
//! they are called the shim says: both are bounded.

use berth_metrics::Samples;
use berth_proto::io::containerd::cgroups::{v1, v2};

use super::{HELP, Of};

/// Samples of one container that its shim lists: of processors, devices, page sizes.
const LISTED: usize = 512;
/// The longest name of a device or page size, and of what is done with it.
const NAME: usize = 64;

/// Puts what the shim of a container lists, no more than there is room for.
pub(super) struct List<'s, 'a> {
    samples: &'s mut Samples,
    of: Of<'a>,
    room: usize,
}

impl<'s, 'a> List<'s, 'a> {
    pub(super) fn new(samples: &'s mut Samples, of: Of<'a>) -> Self {
        Self { samples, of, room: LISTED }
    }

    fn put<const N: usize>(&mut self, name: &'static str, labels: [(&str, &str); N], value: u64) {
        let fits = labels.iter().all(|(_, value)| value.len() <= NAME);
        match self.room.checked_sub(1).filter(|_| fits) {
            Some(room) => {
                self.room = room;
                let labels: Vec<_> = self.of.into_iter().chain(labels).collect();
                self.samples.gauge(name, HELP).sample(&labels, value);
            }
            None => self.samples.leave_out(1),
        }
    }
}

pub(super) fn of_v1(list: &mut List<'_, '_>, metrics: &v1::Metrics) {
    let usage = metrics.cpu.as_ref().and_then(|cpu| cpu.usage.as_ref());
    for (at, value) in usage.iter().flat_map(|usage| &usage.per_cpu).enumerate() {
        list.put("container_per_cpu_nanoseconds", [("cpu", &*at.to_string())], *value);
    }
    for page in &metrics.hugetlb {
        let labels = [("page", &*page.pagesize)];
        list.put("container_hugetlb_usage_bytes", labels, page.usage);
        list.put("container_hugetlb_failcnt_total", labels, page.failcnt);
        list.put("container_hugetlb_max_bytes", labels, page.max);
    }
    if let Some(blkio) = &metrics.blkio {
        blkio_v1(list, blkio);
    }
}

fn blkio_v1(list: &mut List<'_, '_>, blkio: &v1::BlkIoStat) {
    let all = [
        ("container_blkio_io_merged_recursive_total", &blkio.io_merged_recursive),
        ("container_blkio_io_queued_recursive_total", &blkio.io_queued_recursive),
        ("container_blkio_io_service_bytes_recursive_bytes", &blkio.io_service_bytes_recursive),
        ("container_blkio_io_service_time_recursive_total", &blkio.io_service_time_recursive),
        ("container_blkio_io_serviced_recursive_total", &blkio.io_serviced_recursive),
        ("container_blkio_io_time_recursive_total", &blkio.io_time_recursive),
        ("container_blkio_sectors_recursive_total", &blkio.sectors_recursive),
    ];
    for (name, entries) in all {
        for entry in entries {
            let (major, minor) = (entry.major.to_string(), entry.minor.to_string());
            let (op, device) = (("op", &*entry.op), ("device", &*entry.device));
            list.put(name, [op, device, ("major", &*major), ("minor", &*minor)], entry.value);
        }
    }
}

pub(super) fn of_v2(list: &mut List<'_, '_>, metrics: &v2::Metrics) {
    for entry in metrics.io.iter().flat_map(|io| &io.usage) {
        let (major, minor) = (entry.major.to_string(), entry.minor.to_string());
        let labels = [("major", &*major), ("minor", &*minor)];
        list.put("container_io_rbytes_bytes", labels, entry.rbytes);
        list.put("container_io_wbytes_bytes", labels, entry.wbytes);
        list.put("container_io_rios_total", labels, entry.rios);
        list.put("container_io_wios_total", labels, entry.wios);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::options::domain;
    use super::super::{tell_as_containerd, usage};
    use super::*;

    #[test]
    fn what_a_shim_lists_is_bounded_and_adds_up_to_no_more_than_there_is() {
        let entry = |device: &str, value| v1::BlkIoEntry {
            op: "read".into(),
            device: device.into(),
            value,
            ..Default::default()
        };
        let long = "x".repeat(NAME + 1);
        let metrics = v1::Metrics {
            cpu: Some(v1::CpuStat {
                usage: Some(v1::CpuUsage { per_cpu: vec![1; LISTED - 1], ..Default::default() }),
                throttling: None,
            }),
            blkio: Some(v1::BlkIoStat {
                io_service_bytes_recursive: vec![
                    entry(&long, u64::MAX),
                    entry("a", 7),
                    entry("b", 8),
                ],
                ..Default::default()
            }),
            ..Default::default()
        };
        let stats = domain(berth_proto::pack(&metrics));
        assert_eq!(usage(&stats).unwrap().read, u64::MAX);
        let mut samples = Samples::default();
        tell_as_containerd(&mut samples, "n", "c", "r", &stats);
        let text = samples.text();
        assert_eq!(text.matches("container_per_cpu_nanoseconds{").count(), LISTED - 1);
        let read = "container_blkio_io_service_bytes_recursive_bytes{";
        assert_eq!(text.matches(read).count(), 1, "{text}");
        assert!(text.contains("device=\"a\"") && !text.contains(&long), "{text}");
        let io = |rbytes| v2::IoEntry { rbytes, ..Default::default() };
        let metrics = v2::Metrics {
            io: Some(v2::IoStat { usage: vec![io(u64::MAX), io(1)], psi: None }),
            ..Default::default()
        };
        assert_eq!(usage(&domain(berth_proto::pack(&metrics))).unwrap().read, u64::MAX);
    }
}
