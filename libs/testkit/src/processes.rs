//! Processes and mounts that belong to a test's folder.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// How long a process may take to stop.
const STOPS: Duration = Duration::from_secs(60);
/// How long a server may take to listen.
const LISTENS: Duration = Duration::from_secs(60);

/// Ends the shims that were started for a folder, with their containers, and undoes the mounts
/// below it: a test that failed leaves nothing behind.
pub fn clear_away(dir: &Path) {
    for shim in shims(dir) {
        for child in all().filter(|child| parent_of(*child) == Some(shim)) {
            let _ = signal(child, Signal::KILL);
            thaw(child);
        }
        let _ = signal(shim, Signal::KILL);
    }
    for at in mounts(dir).iter().rev() {
        let _ = unmount(at.as_str(), UnmountFlags::DETACH);
    }
}

/// Lets a process go on that its control group of the first version has frozen: it could not even die.
fn thaw(pid: u32) {
    let groups = fs_err::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let frozen = groups.lines().find_map(|line| line.split_once(":freezer:"));
    if let Some((_, group)) = frozen.filter(|(_, group)| *group != "/") {
        // It may be gone already.
        let _ = fs_err::write(format!("/sys/fs/cgroup/freezer{group}/freezer.state"), "THAWED");
    }
}

/// The shims whose command line or environment names a folder. A child of one that is about to be
/// another program is none: its parent is one, or by now it is that program or has ended.
pub(crate) fn shims(dir: &Path) -> Vec<u32> {
    let dir = dir.as_os_str().as_encoded_bytes();
    let names = |pid: u32, file: &str| {
        fs_err::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|text| text.windows(dir.len()).any(|part| part == dir))
    };
    let is_shim = |pid: &u32| program_of(*pid).starts_with("containerd-shim");
    let ours = |pid: &u32| names(*pid, "cmdline") || names(*pid, "environ");
    let shims: Vec<u32> = all().filter(is_shim).filter(ours).collect();
    let forked = |pid: &u32| parent_of(*pid).is_some_and(|parent| shims.contains(&parent));
    shims.iter().copied().filter(|pid| !forked(pid) && is_shim(pid)).collect()
}

/// Mount points below a folder.
pub(crate) fn mounts(dir: &Path) -> Vec<String> {
    let dir = dir.to_string_lossy().into_owned();
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = |line: &str| line.split(' ').nth(4).map(str::to_owned);
    mounts.lines().filter_map(point).filter(|at| at.starts_with(&dir)).collect()
}

/// Waits until a server that was started on port 0 of the loopback listens; answers the port that it
/// got. A port that is chosen before may be another's by the time that a server binds it.
///
/// # Errors
/// When it ends or does not listen in time.
pub(crate) fn listens(what: &str, pid: u32) -> Result<u16> {
    let mut port = None;
    let mut ended = false;
    until(&format!("{what} listens"), LISTENS, || {
        port = port_of(pid);
        ended = has_ended(pid);
        port.is_some() || ended
    })?;
    port.with_context(|| format!("{what} has ended"))
}

/// The loopback port on which a process listens, by the inodes of its sockets.
fn port_of(pid: u32) -> Option<u16> {
    let descriptors = fs_err::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let sockets: Vec<String> = descriptors
        .filter_map(|descriptor| {
            fs_err::read_link(descriptor.path()).ok()?.to_str().map(str::to_owned)
        })
        .filter_map(|to| Some(to.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = fs_err::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    // Fields: number, local address, remote address, state (0A: listens), …, inode as the tenth.
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let own = sockets.iter().any(|inode| Some(&inode.as_str()) == fields.get(9));
        let port = fields.get(1)?.strip_prefix("0100007F:")?;
        if own && fields.get(3) == Some(&"0A") { u16::from_str_radix(port, 16).ok() } else { None }
    })
}

/// Sends a signal; one that stops the process has done so when this returns.
///
/// # Errors
/// When there is no such process, or it does not stop.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let to = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no such pid")?;
    kill_process(to, signal).with_context(|| format!("send a signal to {pid}"))?;
    // The kernel stops one thread after the other, and the last may still answer a request.
    if signal == Signal::STOP {
        until(&format!("{pid} is stopped"), STOPS, || is_stopped(pid))?;
    }
    Ok(())
}

/// Whether no thread of a process runs on.
fn is_stopped(pid: u32) -> bool {
    all_threads_are(pid, &[" T"])
}

/// Whether a process has ended with all its threads, and has nothing open any more. Whoever reaps it may take
/// time for that.
pub(crate) fn has_ended(pid: u32) -> bool {
    all_threads_are(pid, &[" Z", " X"])
}

/// Whether each thread of a process is in one of these states, or there is none.
fn all_threads_are(pid: u32, states: &[&str]) -> bool {
    let threads = fs_err::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut stats =
        threads.filter_map(|thread| fs_err::read_to_string(thread.path().join("stat")).ok());
    stats.all(|stat| {
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        states.iter().any(|state| rest.starts_with(state))
    })
}

pub(crate) fn all() -> impl Iterator<Item = u32> {
    let names = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The parent of a process, from the fourth field of its stat line.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The file name of the program that a process runs, also if that was replaced since.
pub(crate) fn program_of(pid: u32) -> String {
    let path = fs_err::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(" (deleted)").to_owned()
}
