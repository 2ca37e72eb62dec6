//! What the machine has, and how much of it is used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::objects::Capacity;

/// How long the kernel may take to say it: a file system may be stuck.
const WITHIN: Duration = Duration::from_secs(2);
const MEMINFO: &str = "/proc/meminfo";

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) capacity: Capacity,
    /// In percent, of what is there for everybody.
    pub(super) disk_used: Option<u32>,
    /// In percent.
    pub(super) memory_used: Option<u32>,
}

/// The file system of a folder.
pub(super) struct Disk {
    folder: PathBuf,
    /// Whoever has it looks: one that is stuck keeps one thread, however often it is looked again.
    turn: Arc<Mutex<()>>,
}

impl Disk {
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folder, turn: Arc::default() }
    }

    /// Its bytes, and how much of them is used in percent.
    async fn look(&self) -> Option<(u64, u32)> {
        let look = async {
            let (turn, folder) = (self.turn.clone().lock_owned().await, self.folder.clone());
            let look = move || {
                let _turn = turn;
                disk(&folder)
            };
            berth_lifecycle::blocking("look at the disk", look).await
        };
        timeout(WITHIN, look).await.ok()?.ok()?
    }
}

/// Looks at the machine, and at this file system. What cannot be seen is 0, or nothing.
pub(super) async fn look(disk: &Disk) -> Machine {
    let disk = disk.look().await;
    let memory = fs_err::read_to_string(MEMINFO).ok().and_then(|text| memory(&text));
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Machine {
        capacity: Capacity {
            processors: u32::try_from(processors).unwrap_or(u32::MAX),
            memory_bytes: memory.map_or(0, |(total, _)| total),
            disk_bytes: disk.map_or(0, |(total, _)| total),
            architecture: architecture(std::env::consts::ARCH).to_owned(),
            kernel,
        },
        disk_used: disk.map(|(_, used)| used),
        memory_used: memory.map(|(_, used)| used),
    }
}

/// The bytes of a folder's file system, and how much in percent is used of what all may use, as `df` has
/// it.
fn disk(folder: &Path) -> Option<(u64, u32)> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
    Some((bytes, percent(used, used.saturating_add(stat.f_bavail))?))
}

/// The bytes of the memory, and how much in percent cannot be had any more.
fn memory(meminfo: &str) -> Option<(u64, u32)> {
    let field = |name: &str| -> Option<u64> {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let (total, available) = (field("MemTotal")?, field("MemAvailable")?);
    Some((total, percent(total.saturating_sub(available), total)?))
}

fn percent(part: u64, whole: u64) -> Option<u32> {
    let percent = u128::from(part) * 100 / u128::from(std::num::NonZero::new(whole)?.get());
    u32::try_from(percent.min(100)).ok()
}

/// What OCI calls a processor that Rust calls so.
fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let seen = look(&Disk::of(folder.path().into())).await;
        let Capacity { processors, memory_bytes, disk_bytes, architecture, kernel } = seen.capacity;
        assert!(processors > 0 && memory_bytes > 1 << 20 && disk_bytes > 1 << 20);
        assert!(!architecture.is_empty() && kernel.starts_with(|c: char| c.is_ascii_digit()));
        assert!(seen.disk_used.is_some_and(|used| used <= 100));
        assert!(seen.memory_used.is_some_and(|used| used <= 100));
        let nowhere = look(&Disk::of("/no/such/folder".into())).await;
        assert_eq!((nowhere.capacity.disk_bytes, nowhere.disk_used), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_is_stuck_is_not_looked_at_again_until_it_has_answered() {
        let disk = Disk::of("/".into());
        let stuck = disk.turn.clone().lock_owned().await;
        let seen = look(&disk).await;
        assert_eq!((seen.capacity.disk_bytes, seen.disk_used), (0, None));
        assert!(seen.memory_used.is_some());
        drop(stuck);
        assert!(look(&disk).await.disk_used.is_some());
    }

    #[test]
    fn memory_is_what_the_kernel_says_can_be_had() {
        let text = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    251 kB\n";
        assert_eq!(memory(text), Some((1_024_000, 74)));
        for text in ["", "MemTotal: 0 kB\nMemAvailable: 0 kB", "MemTotal: x kB", "MemTotal: 5 kB"] {
            assert_eq!(memory(text), None, "{text}");
        }
        assert_eq!(percent(u64::MAX, 1), Some(100));
        assert_eq!((architecture("x86_64"), architecture("riscv64")), ("amd64", "riscv64"));
    }
}
