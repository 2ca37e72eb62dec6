//! The faults: how each is made, and lifted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use berth_testkit::{Node, Signal, run, signal, until};

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
    Hurry(Sender<()>, JoinHandle<()>),
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
            Self::Oom => starve(node, pid),
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
                slower.join().expect("no panic");
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

/// Stops and continues it in turn, until it is ended.
fn slow(pid: u32) -> Lift {
    let (end, ended) = channel::<()>();
    let slower = std::thread::spawn(move || {
        let mut next = (Signal::STOP, STOPS);
        while signal(pid, next.0).is_ok() {
            if ended.recv_timeout(next.1) != Err(RecvTimeoutError::Timeout) {
                break;
            }
            next =
                if next.0 == Signal::STOP { (Signal::CONT, RUNS) } else { (Signal::STOP, STOPS) };
        }
        let _ = signal(pid, Signal::CONT);
    });
    Lift::Hurry(end, slower)
}

/// Gives it a control group in which there is room for nothing more, and waits until it is dead.
fn starve(node: &Node, pid: u32) -> Result<Lift> {
    let group = Group::make(pid)?;
    let there = PathBuf::from(format!("/proc/{pid}"));
    until("the kernel kills the service", SOON, || {
        // What it is asked for takes memory. How that ends is for the calls of the case to see.
        let questions = ["images", "ps -a", "version"];
        questions.iter().all(|question| node.berth(question).output().is_ok()) && !there.exists()
    })?;
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
