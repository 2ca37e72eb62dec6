//! The two nodes: containerd and berth, each on folders of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Run, program, until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;

const START: Duration = Duration::from_secs(30);

/// Both nodes, up and empty.
#[derive(Debug)]
pub struct Pair {
    /// Debian's containerd.
    pub containerd: Node,
    /// berth's bundle.
    pub berth: Node,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// containerd
    Containerd,
    /// berthd
    Berth,
}

/// The folders of a node, and how it is started on them.
#[derive(Debug)]
pub struct Place {
    /// Which program.
    pub kind: Kind,
    dir: TempDir,
}

/// A node that runs. Ends with its owner, and so does what runs on it.
#[derive(Debug)]
pub struct Node {
    /// Its folders.
    pub place: Place,
    /// A client of its socket.
    pub client: Client,
    process: Process,
}

/// The process of a node; its children end with it.
#[derive(Debug)]
pub struct Process(Child);

impl Pair {
    /// Starts both.
    pub async fn start() -> Result<Self> {
        Ok(Self {
            containerd: Node::start(Kind::Containerd).await?,
            berth: Node::start(Kind::Berth).await?,
        })
    }

    /// Both, containerd first.
    pub fn nodes(&self) -> [&Node; 2] {
        [&self.containerd, &self.berth]
    }
}

impl Place {
    /// New, empty folders.
    pub fn new(kind: Kind) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("berth-measure-").tempdir()?;
        let at = dir.path().display();
        let text = match kind {
            // What berth does not have either is off.
            Kind::Containerd => format!(
                "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
                 disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.btrfs\", \
                 \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.zfs\", \
                 \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.tracing.processor.v1.otlp\"]\n\
                 [grpc]\naddress = \"{at}/node.sock\"\n"
            ),
            Kind::Berth => format!(
                "root = \"{at}/root\"\nstate = \"{at}/state\"\naddress = \"{at}/node.sock\"\n"
            ),
        };
        fs_err::write(dir.path().join("config.toml"), text)?;
        Ok(Self { kind, dir })
    }

    /// Has it started with another configuration.
    pub fn configure(&self, text: &str) -> Result<()> {
        Ok(fs_err::write(self.path("config.toml"), text)?)
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.path("node.sock")
    }

    /// A path below the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the program; its socket may take a while.
    pub fn spawn(&self) -> Result<Process> {
        let name = match self.kind {
            Kind::Containerd => PathBuf::from("containerd"),
            Kind::Berth => berth_testkit::Node::binary("berthd")?,
        };
        let log = fs_err::OpenOptions::new().create(true).append(true).open(self.path("log"))?;
        let log = log.into_parts().0;
        let mut command =
            program(name).args(["--config"]).args([self.path("config.toml")]).into_command();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Process(command.spawn().context("start a node")?))
    }
}

impl Node {
    /// Starts a node on new folders and waits until it answers.
    pub async fn start(kind: Kind) -> Result<Self> {
        Self::start_at(Place::new(kind)?).await
    }

    /// The same in folders that are prepared.
    pub async fn start_at(place: Place) -> Result<Self> {
        let process = place.spawn()?;
        until("the node's socket", START, || place.socket().exists())
            .with_context(|| fs_err::read_to_string(place.path("log")).unwrap_or_default())?;
        let client = Client::new(&place.socket());
        client.version().await?;
        Ok(Self { place, client, process })
    }

    /// A whole command of `ctr` on this node, split at spaces.
    pub fn ctr(&self, line: &str) -> Run {
        program("ctr").args(["--address"]).args([self.place.socket()]).args(line.split_whitespace())
    }

    /// Its process and those that it started itself; shims are not among them.
    pub fn processes(&self) -> Vec<u32> {
        let own = self.process.0.id();
        let mut all = vec![own];
        all.extend(children_of(own));
        all
    }

    /// Its shims.
    pub fn shims(&self) -> Vec<u32> {
        let socket = self.place.socket();
        let names = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            let shim =
                words.next().is_some_and(|first| first.ends_with(b"containerd-shim-runc-v2"));
            shim && words.any(|word| word == socket.as_os_str().as_encoded_bytes())
        };
        processes().filter(names).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let shims = self.shims();
        for container in shims.iter().flat_map(|shim| children_of(*shim)) {
            kill(container, Signal::KILL);
        }
        for shim in shims {
            kill(shim, Signal::KILL);
        }
        unmount_below(self.place.dir.path());
    }
}

impl Process {
    /// Ends it in order and waits for it.
    pub fn stop(mut self) -> Result<()> {
        kill(self.0.id(), Signal::TERM);
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill(self.0.id(), Signal::TERM);
        let _ = self.0.wait();
    }
}

fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may be gone.
        let _ = kill_process(pid, signal);
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The processes that another has started.
pub fn children_of(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
        fields.and_then(|mut fields| fields.nth(1)?.parse().ok()) == Some(parent)
    };
    processes().filter(is_child).collect()
}

fn unmount_below(dir: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let below: Vec<&str> = points.filter(|at| Path::new(at).starts_with(dir)).collect();
    for at in below.iter().rev() {
        let _ = rustix::mount::unmount(*at, rustix::mount::UnmountFlags::DETACH);
    }
}
