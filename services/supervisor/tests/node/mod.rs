//! A folder with berthd, stand-ins for the services, a root and a state.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use berth_lifecycle::{READY_FD, child};
use berth_testkit::copy_program;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

/// In the order of their start.
pub const SERVICES: [&str; 4] =
    ["berth-distribution", "berth-bundle", "berth-runtime", "berth-gateway"];
/// Those that the node can be without, in the order of their start, each with what turns it on. Of the cluster's etcd
/// nothing is to be seen.
pub const OPTIONAL: [(&str, &str); 2] = [
    ("berth-cluster", "[cluster.etcd]\nendpoints = ['http://127.0.0.1:1']\n"),
    ("berth-cri", "[cri]\nenabled = true\n"),
];
pub const SOON: Duration = Duration::from_secs(60);

pub struct Node {
    dir: tempfile::TempDir,
}

pub struct Berthd {
    child: Child,
    pid: u32,
}

impl Node {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir_all(dir.path().join("state")).unwrap();
        std::fs::create_dir(&bin).unwrap();
        copy_program(env!("CARGO_BIN_EXE_berthd"), bin.join("berthd")).unwrap();
        for name in SERVICES.into_iter().chain(OPTIONAL.map(|(name, _)| name)) {
            copy_program(stand_in(), bin.join(name)).unwrap();
        }
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes its configuration.
    pub fn configure(&self, text: &str) {
        std::fs::write(self.path("berth.toml"), text).unwrap();
    }

    pub fn flag(&self, name: &str) {
        std::fs::write(self.path("state").join(name), "").unwrap();
    }

    fn command(&self) -> Command {
        let mut command = child::command(self.path("bin/berthd"));
        command.arg("--root").arg(self.path("root")).arg("--state").arg(self.path("state"));
        let config = self.path("berth.toml");
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command
    }

    /// Starts berthd and waits until it says that it is ready.
    pub async fn start(&self) -> Berthd {
        self.start_with(&[]).await
    }

    /// As [`Node::start`], with more environment.
    pub async fn start_with(&self, environment: &[(&str, &str)]) -> Berthd {
        let (ready, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let mut command = self.command();
        let tell = child::pass(&mut command, tell);
        command.envs(environment.iter().copied());
        command.env(READY_FD, tell.to_string()).stderr(Stdio::inherit());
        let child = command.spawn().unwrap();
        drop(command);
        let mut ready = pipe::Receiver::from_owned_fd(ready).unwrap();
        let mut byte = [0];
        let read = tokio::time::timeout(SOON, ready.read(&mut byte)).await;
        assert_eq!(read.unwrap().unwrap(), 1, "berthd ended before it was ready");
        let pid = child.id().unwrap();
        Berthd { child, pid }
    }

    /// Starts berthd and waits until it says something.
    pub async fn start_waiting(&self, says: &str) -> Berthd {
        let mut command = self.command();
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let look = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(says) {
                    return;
                }
            }
            panic!("berthd ended without {says}");
        };
        tokio::time::timeout(SOON, look).await.unwrap();
        // What it says later has to have somewhere to go.
        #[expect(clippy::disallowed_methods, reason = "ends with the process")]
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let pid = child.id().unwrap();
        Berthd { child, pid }
    }

    pub async fn run_to_end(&self) -> Output {
        self.run_with(&[]).await
    }

    /// As [`Node::run_to_end`], with more environment.
    pub async fn run_with(&self, environment: &[(&str, &str)]) -> Output {
        let mut command = self.command();
        command.envs(environment.iter().copied());
        child::output(command, SOON).await.unwrap()
    }

    /// What the stand-ins wrote down.
    pub fn notes(&self) -> Vec<String> {
        let notes = std::fs::read_to_string(self.path("state/notes")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    /// The process ids under which a service was started so far.
    pub fn pids(&self, service: &str) -> Vec<i32> {
        let started = format!("{service} started ");
        let pid = |note: String| note.strip_prefix(&started)?.split(' ').next()?.parse().ok();
        self.notes().into_iter().filter_map(pid).collect()
    }

    pub async fn until(&self, condition: impl Fn() -> bool) {
        let look = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(SOON, look).await;
        assert!(seen.is_ok(), "did not happen within {SOON:?}: {:#?}", self.notes());
    }
}

impl Berthd {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid(i32::try_from(self.pid).unwrap()), signal).unwrap();
    }

    pub async fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().await.unwrap().code()
    }

    /// The names of children that ended and were not reaped.
    pub fn zombies(&self) -> Vec<String> {
        let children = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = std::fs::read_to_string(children).unwrap();
        let stat = |pid| std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok();
        children.split_whitespace().filter_map(stat).filter(|stat| stat.contains(") Z ")).collect()
    }
}

pub fn kill(number: i32) {
    kill_process(pid(number), Signal::KILL).unwrap();
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).unwrap()
}

/// cargo builds examples with the tests, beside the folder of the tests' own programs.
fn stand_in() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join("examples/stand-in")
}
