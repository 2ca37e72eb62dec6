//! The metrics that there are: names and labels are cAdvisor's, as containerd's CRI has them.

use berth_proto::runtime::v1 as wire;

/// Metrics of one name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Family {
    pub name: &'static str,
    help: &'static str,
    pub grows: bool,
    /// Labels behind those that all have.
    labels: &'static [&'static str],
}

/// What each says whose it is by.
const LABELS: [&str; 5] = ["pod", "namespace", "container", "id", "image"];
const NONE: &[&str] = &[];
const DEVICE: &[&str] = &["device"];
const INTERFACE: &[&str] = &["interface"];
const FAILURE: &[&str] = &["failure_type", "scope"];
const OPERATION: &[&str] = &["device", "major", "minor", "operation"];
const ULIMIT: &[&str] = &["ulimit"];

impl Family {
    pub(super) fn descriptor(&self) -> wire::MetricDescriptor {
        let labels = LABELS.iter().chain(self.labels).map(|label| (*label).to_owned());
        wire::MetricDescriptor {
            name: self.name.to_owned(),
            help: self.help.to_owned(),
            label_keys: labels.collect(),
        }
    }

    /// How many labels it has behind those that all have.
    pub(super) const fn own_labels(&self) -> usize {
        self.labels.len()
    }
}

macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal $labels:ident $help:literal;)*) => {
        $(pub(super) static $constant: Family =
            Family { name: $name, help: $help, grows: families!($kind), labels: $labels };)*
        /// All of them, in the order in which they are told.
        pub(super) static ALL: &[&Family] = &[$(&$constant),*];
    };
    (counter) => { true };
    (gauge) => { false };
}

families! {
    CPU_USER: counter "container_cpu_user_seconds_total" NONE "Time on processors in programs, in whole seconds.";
    CPU_SYSTEM: counter "container_cpu_system_seconds_total" NONE "Time on processors in the kernel, in whole seconds.";
    CPU_USAGE: counter "container_cpu_usage_seconds_total" NONE "Time on processors, in whole seconds.";
    PERIODS: counter "container_cpu_cfs_periods_total" NONE "Periods in which the limit of processors was counted.";
    THROTTLED_PERIODS: counter "container_cpu_cfs_throttled_periods_total" NONE "Periods in which the limit was met.";
    THROTTLED: counter "container_cpu_cfs_throttled_seconds_total" NONE "Time for which the limit kept it from processors, in whole seconds.";
    CACHE: gauge "container_memory_cache" NONE "Bytes of the page cache.";
    RSS: gauge "container_memory_rss" NONE "Bytes of memory that is no file's.";
    KERNEL: gauge "container_memory_kernel_usage" NONE "Bytes that the kernel has for it.";
    MAPPED: gauge "container_memory_mapped_file" NONE "Bytes of files that are mapped.";
    SWAP: gauge "container_memory_swap" NONE "Bytes in swap.";
    FAILCNT: counter "container_memory_failcnt" NONE "How often the limit of memory was met.";
    MEMORY: gauge "container_memory_usage_bytes" NONE "Bytes of memory in use, the page cache included.";
    MOST_MEMORY: gauge "container_memory_max_usage_bytes" NONE "The most bytes that were in use.";
    WORKING_SET: gauge "container_memory_working_set_bytes" NONE "Bytes in use without the page cache that can be dropped.";
    ACTIVE_FILE: gauge "container_memory_total_active_file_bytes" NONE "Bytes of the page cache that were used of late.";
    INACTIVE_FILE: gauge "container_memory_total_inactive_file_bytes" NONE "Bytes of the page cache that can be dropped.";
    FAULTS: counter "container_memory_failures_total" FAILURE "Page faults, all and those that read from a disk.";
    OOM: counter "container_oom_events_total" NONE "Processes that were killed for want of memory.";
    RECEIVED_BYTES: counter "container_network_receive_bytes_total" INTERFACE "Bytes that came.";
    RECEIVED_PACKETS: counter "container_network_receive_packets_total" INTERFACE "Packets that came.";
    RECEIVED_DROPPED: counter "container_network_receive_packets_dropped_total" INTERFACE "Packets that came and were dropped.";
    RECEIVED_ERRORS: counter "container_network_receive_errors_total" INTERFACE "Errors in what came.";
    SENT_BYTES: counter "container_network_transmit_bytes_total" INTERFACE "Bytes that went.";
    SENT_PACKETS: counter "container_network_transmit_packets_total" INTERFACE "Packets that went.";
    SENT_DROPPED: counter "container_network_transmit_packets_dropped_total" INTERFACE "Packets that were to go and were dropped.";
    SENT_ERRORS: counter "container_network_transmit_errors_total" INTERFACE "Errors in what went.";
    INODES_FREE: gauge "container_fs_inodes_free" DEVICE "Files for which there is room on the file system.";
    INODES: gauge "container_fs_inodes_total" DEVICE "Files that the file system can have.";
    DISK_LIMIT: gauge "container_fs_limit_bytes" DEVICE "Bytes of the file system.";
    DISK_USAGE: gauge "container_fs_usage_bytes" DEVICE "Bytes that were written into its own layer of the root file system.";
    READ_BYTES: counter "container_fs_reads_bytes_total" DEVICE "Bytes from a block device.";
    READS: counter "container_fs_reads_total" DEVICE "Reads from a block device.";
    WRITTEN_BYTES: counter "container_fs_writes_bytes_total" DEVICE "Bytes to a block device.";
    WRITES: counter "container_fs_writes_total" DEVICE "Writes to a block device.";
    BLKIO: counter "container_blkio_device_usage_total" OPERATION "Bytes from and to a block device, by what was done.";
    PROCESSES: gauge "container_processes" NONE "Processes.";
    FILES: gauge "container_file_descriptors" NONE "File descriptors that its processes have open.";
    SOCKETS: gauge "container_sockets" NONE "Those of them that are sockets.";
    MOST_THREADS: gauge "container_threads_max" NONE "The most threads that it may have; 0 without a limit.";
    THREADS: gauge "container_threads" NONE "Threads.";
    ULIMITS: gauge "container_ulimits_soft" ULIMIT "Limits of its own process; one that is not limited is not told.";
    LAST_SEEN: gauge "container_last_seen" NONE "When it was measured, in seconds since 1970.";
    STARTED: gauge "container_start_time_seconds" NONE "When it was started, in seconds since 1970.";
    CPU_PERIOD: gauge "container_spec_cpu_period" NONE "The period of its limit of processors, in microseconds.";
    CPU_SHARES: gauge "container_spec_cpu_shares" NONE "Its share of processors.";
    MEMORY_LIMIT: gauge "container_spec_memory_limit_bytes" NONE "Its limit of memory.";
    MEMORY_RESERVED: gauge "container_spec_memory_reservation_limit_bytes" NONE "What of memory it is to have when there is little.";
    SWAP_LIMIT: gauge "container_spec_memory_swap_limit_bytes" NONE "Its limit of memory and swap together.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_is_told_of_once_with_all_its_labels() {
        let names: BTreeSet<_> = ALL.iter().map(|family| family.name).collect();
        assert_eq!((names.len(), ALL.len()), (49, 49));
        let told = FAULTS.descriptor();
        assert_eq!(
            told.label_keys.join(" "),
            "pod namespace container id image failure_type scope"
        );
        for family in ALL
            .iter()
            .filter(|family| family.name.ends_with("_total") && family.name != INODES.name)
        {
            assert!(family.grows, "{}", family.name);
        }
    }
}
