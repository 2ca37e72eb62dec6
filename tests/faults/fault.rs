//! The faults: how each is made, and lifted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use berth_testkit::{Node, Signal, run, signal, until};

use crate::burden::burden;
use crate::group::Group;

pub const GATEWAY: &str = "berth-gateway";
pub const DISTRIBUTION: &str = "berth-distribution";
pub const BUNDLE: &str = "berth-bundle";
pub const RUNTIME: &str = "berth-runtime";
pub const SUPERVISOR: &str = "berthd";

/// Of a slowed service: it runs for one part of ten.
const RUNS: Duration = Duration::from_millis(10);
const STOPS: Duration = Duration::from_millis(90);

/// Within which the kernel kills what has no room.
const SOON: Duration = Duration::from_secs(60);

/// What is wrong with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Killed,
    Stopped,
    Slowed,
    /// By the kernel, in a control group that is too small for it.
    Oom,
    Memory,
    Descriptors,
    Disk,
}

/// What undoes a fault.
pub enum Lift {
    Nothing,
    Start,
    Continue(u32),
    Hurry(Sender<()>, JoinHandle<usize>),
    Limit { pid: u32, resource: &'static str, hard: String },
    Remove(PathBuf),
    Leave(Group),
}

impl Fault {
    pub fn words(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::Slowed => "slowed",
            Self::Oom => "killed for want of memory",
            Self::Memory => "out of memory",
            Self::Descriptors => "out of descriptors",
            Self::Disk => "disk full",
        }
    }

    /// Whether it is over by itself, as soon as it has been made.
    pub fn passes(self) -> bool {
        matches!(self, Self::Killed | Self::Oom)
    }

    pub fn make(self, node: &mut Node, service: &str) -> Result<Lift> {
        if service == SUPERVISOR {
            node.kill_berthd()?;
            return Ok(Lift::Start);
        }
        let pid = node.service_pid(service)?;
        match self {
            Self::Killed => signal(pid, Signal::KILL).map(|()| Lift::Nothing),
            Self::Stopped => signal(pid, Signal::STOP).map(|()| Lift::Continue(pid)),
            Self::Slowed => Ok(slow(pid)),
            Self::Oom => starve(node, service, pid),
            Self::Memory => limit(pid, "as"),
            Self::Descriptors => limit(pid, "nofile"),
            Self::Disk => {
                let name = service.trim_start_matches("berth-");
                fill(&node.path("root").join(name).join("filler"))
            }
        }
    }
}

impl Lift {
    pub fn lift(self, node: &mut Node) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Start => node.start_berthd(),
            Self::Continue(pid) => signal(pid, Signal::CONT),
            Self::Hurry(end, slower) => {
                drop(end);
                let stops = slower.join().expect("no panic");
                ensure!(stops > 1, "it was to be slow, and was seen to stop {stops} times");
                Ok(())
            }
            Self::Limit { pid, resource, hard } => {
                // One that has ended on it was started anew, without.
                let lifted = run(&format!("prlimit --pid {pid} --{resource}={hard}:"));
                ensure!(lifted.is_ok() || !Path::new(&format!("/proc/{pid}")).exists());
                Ok(())
            }
            Self::Remove(file) => Ok(fs_err::remove_file(file)?),
            Self::Leave(group) => group.leave(),
        }
    }
}

/// Whether the kernel lets it do nothing.
pub fn is_stopped(pid: u32) -> bool {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains("(stopped)"))
}

/// Stops and continues it in turn, until it is ended.
fn slow(pid: u32) -> Lift {
    let (end, ended) = channel::<()>();
    let slower = std::thread::spawn(move || {
        let mut next = (Signal::STOP, STOPS);
        let mut stops = 0;
        while signal(pid, next.0).is_ok() {
            if ended.recv_timeout(next.1) != Err(RecvTimeoutError::Timeout) {
                break;
            }
            stops += usize::from(next.0 == Signal::STOP && is_stopped(pid));
            next =
                if next.0 == Signal::STOP { (Signal::CONT, RUNS) } else { (Signal::STOP, STOPS) };
        }
        let _ = signal(pid, Signal::CONT);
        stops
    });
    Lift::Hurry(end, slower)
}

/// Gives it a control group in which there is room for nothing more, has it hold more, and waits until
/// it is dead.
fn starve(node: &Node, service: &str, pid: u32) -> Result<Lift> {
    let group = Group::make(pid)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let gone = || !Path::new(&format!("/proc/{pid}")).exists();
    until("the kernel kills the service", SOON, || {
        // How that ends is for the calls of the case to see.
        runtime.block_on(burden(&node.address(), service, gone));
        gone()
    })?;
    ensure!(group.kills()? > 0, "it ended, and not by the kernel");
    Ok(Lift::Leave(group))
}

/// Gives it no more of a resource than it has.
fn limit(pid: u32, resource: &'static str) -> Result<Lift> {
    let hard = run(&format!("prlimit --pid {pid} --{resource} --noheadings --raw --output HARD"))?;
    run(&format!("prlimit --pid {pid} --{resource}=3:"))?;
    Ok(Lift::Limit { pid, resource, hard: hard.trim().to_owned() })
}

/// Takes all the room there is.
fn fill(path: &Path) -> Result<Lift> {
    let mut file = fs_err::File::create_new(path)?;
    loop {
        match file.write_all(&[0; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Lift::Remove(path.to_owned()))
}
