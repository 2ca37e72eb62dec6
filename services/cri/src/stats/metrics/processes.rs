//! What the processes of a container have open, and what its own is limited to, as `/proc` has it.

use std::fs::FileType;
use std::path::Path;

use super::families as of;
use super::samples::Samples;

/// So many descriptors of a container are counted: beyond that a number says nothing more, and costs.
const MOST_FILES: u64 = 16_384;
/// The most of a list of limits that is read, in bytes.
const MOST: u64 = 16 << 10;
/// How the kernel calls limits, and how programs do. Values are whole numbers of their unit.
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "RLIMIT_CPU"),
    ("Max file size", "RLIMIT_FSIZE"),
    ("Max data size", "RLIMIT_DATA"),
    ("Max stack size", "RLIMIT_STACK"),
    ("Max core file size", "RLIMIT_CORE"),
    ("Max resident set", "RLIMIT_RSS"),
    ("Max processes", "RLIMIT_NPROC"),
    ("Max open files", "RLIMIT_NOFILE"),
    ("Max locked memory", "RLIMIT_MEMLOCK"),
    ("Max address space", "RLIMIT_AS"),
    ("Max file locks", "RLIMIT_LOCKS"),
    ("Max pending signals", "RLIMIT_SIGPENDING"),
    ("Max msgqueue size", "RLIMIT_MSGQUEUE"),
    ("Max nice priority", "RLIMIT_NICE"),
    ("Max realtime priority", "RLIMIT_RTPRIO"),
    ("Max realtime timeout", "RLIMIT_RTTIME"),
];

/// Adds what these processes are and have open. Those that end meanwhile have nothing. Blocks.
pub(super) fn add(samples: &mut Samples, pids: &[u32]) {
    samples.add(&of::PROCESSES, pids.len() as u64);
    let (mut files, mut sockets) = (0, 0);
    for pid in pids {
        count(Path::new(&format!("/proc/{pid}/fd")), &mut files, &mut sockets);
        if files >= MOST_FILES {
            break;
        }
    }
    samples.add(&of::FILES, files);
    samples.add(&of::SOCKETS, sockets);
}

fn count(folder: &Path, files: &mut u64, sockets: &mut u64) {
    let Ok(entries) = fs_err::read_dir(folder) else { return };
    for entry in entries.flatten() {
        // The kernel's own list of them, as links; the bound is on all of a container.
        if *files >= MOST_FILES {
            return;
        }
        if entry.file_type().as_ref().is_ok_and(FileType::is_symlink) {
            *files += 1;
            let is_socket =
                |target: &Path| target.as_os_str().as_encoded_bytes().starts_with(b"socket:");
            *sockets +=
                u64::from(fs_err::read_link(entry.path()).is_ok_and(|target| is_socket(&target)));
        }
    }
}

/// Adds what a container's own process is limited to. Blocks.
pub(super) fn add_limits(samples: &mut Samples, pid: u32) {
    let mut text = String::new();
    let Ok(file) = fs_err::File::open(format!("/proc/{pid}/limits")) else { return };
    let read = std::io::Read::read_to_string(&mut std::io::Read::take(file, MOST), &mut text);
    if read.is_ok() {
        for (name, value) in soft_limits(&text) {
            samples.add_with(&of::ULIMITS, [name], value);
        }
    }
}

/// What is limited, by the names that programs have for it.
fn soft_limits(text: &str) -> impl Iterator<Item = (&'static str, u64)> {
    text.lines().filter_map(|line| {
        let (kernels, name) = LIMITS.iter().find(|(kernels, _)| line.starts_with(kernels))?;
        let soft = line[kernels.len()..].split_whitespace().next()?;
        Some((*name, soft.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn told(samples: Samples) -> Vec<(String, u64)> {
        let told = samples.into_iter().map(|one| {
            let labels = one.label_values.join(" ");
            (format!("{} {labels}", one.name).trim().to_owned(), one.value.unwrap().value)
        });
        told.collect()
    }

    #[test]
    fn limits_that_are_none_are_not_told() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max cpu time              unlimited            unlimited            seconds   \n\
            Max open files            1024                 1048576              files     \n\
            Max nice priority         0                    0                    \n";
        let found: Vec<_> = soft_limits(text).collect();
        assert_eq!(found, [("RLIMIT_NOFILE", 1024), ("RLIMIT_NICE", 0)]);
    }

    #[test]
    fn what_a_process_has_open_is_counted() {
        let of = |pids: &[u32]| {
            let mut samples = Samples::new(Vec::new(), 1);
            add(&mut samples, pids);
            told(samples).into_iter().map(|(_, value)| value).collect::<Vec<_>>()
        };
        let own = std::process::id();
        let [_, files, sockets] = of(&[own])[..] else { panic!() };
        let pairs: Vec<_> = (0..50).map(|_| UnixStream::pair().unwrap()).collect();
        // Other tests open and close at the same time, but not so many.
        let [processes, more, more_sockets] = of(&[own, u32::MAX])[..] else { panic!() };
        assert_eq!(processes, 2);
        assert!(
            more >= files + 50 && more_sockets >= sockets + 50,
            "{files} {sockets} {more} {more_sockets}"
        );
        drop(pairs);
        let mut samples = Samples::new(Vec::new(), 1);
        add_limits(&mut samples, own);
        assert!(told(samples).iter().any(|(name, _)| name.ends_with("RLIMIT_NOFILE")));
    }
}
