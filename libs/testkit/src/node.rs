//! A whole node: berthd and its services on folders and a socket of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::processes::{self, clear_away, has_ended, parent_of, program_of, signal};
use crate::{Run, command::binaries, ended, program, until};

/// How long a shim may take to end after its last task.
const SHIMS_END: Duration = Duration::from_secs(30);

/// How long all processes may take to read their configuration again.
const RELOADS: Duration = Duration::from_secs(60);

/// A running bundle. Clears away its containers, mounts and processes when dropped.
#[derive(Debug)]
pub struct Node {
    dir: TempDir,
    env: Vec<(String, String)>,
    /// What starts berthd, instead of the workspace's binary.
    command: Vec<OsString>,
    berthd: Option<Child>,
}

/// Bytes that went through a process's reads and writes, of files and pipes but not of sockets.
#[derive(Clone, Copy, Debug)]
pub struct Io {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

impl Node {
    /// Starts a node with its defaults and waits until its gateway answers.
    ///
    /// # Errors
    /// When a binary is missing or the node does not answer; with its log.
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// Starts a node with this configuration file.
    ///
    /// # Errors
    /// When a binary is missing or the node does not answer; with its log.
    pub fn start_with(config: &str) -> Result<Self> {
        Self::start_as(config, &[], |_| Ok(()))
    }

    /// Starts a node with this configuration file and these variables, after `prepare` has done
    /// its work on the node's folder. Mounts made there are undone with the node.
    ///
    /// # Errors
    /// When a binary is missing, `prepare` fails or the node does not answer; with its log.
    pub fn start_as(
        config: &str,
        env: &[(&str, &str)],
        prepare: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let mut node = Self::unstarted(config)?;
        node.set_env(env);
        prepare(node.dir.path())?;
        node.start_berthd()?;
        Ok(node)
    }

    /// A node with this configuration file that was never started.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn unstarted(config: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("berth-").tempdir().context("make a folder")?;
        fs_err::write(dir.path().join("berth.toml"), config)?;
        Ok(Self { dir, env: Vec::new(), command: Vec::new(), berthd: None })
    }

    /// Starts berthd (again) on the node's folders.
    ///
    /// # Errors
    /// When it ends, or does not answer in time; with its log.
    pub fn start_berthd(&mut self) -> Result<()> {
        self.start_berthd_until(|| false)
    }

    /// The same; waits until the node answers or `is_enough`, whatever becomes of it then.
    ///
    /// # Errors
    /// When neither is in time, or it ends before; with its log.
    pub fn start_berthd_until(&mut self, mut is_enough: impl FnMut() -> bool) -> Result<()> {
        let log = fs_err::OpenOptions::new().create(true).append(true).open(self.path("log"))?;
        let log = log.into_parts().0;
        let berthd = match self.command.as_slice() {
            [] => program(Self::binary("berthd")?),
            [first, rest @ ..] => program(first).args(rest),
        };
        let mut child = berthd
            .args(["--config"])
            .args([self.path("berth.toml")])
            .args(["--root"])
            .args([self.path("root")])
            .args(["--state"])
            .args([self.path("state")])
            .args(["--address"])
            .args([self.address()])
            .into_command()
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start berthd (cargo build --workspace makes it)")?;
        let (mut ended, mut enough) = (None, false);
        let answers = || matches!(self.berth("version").output(), Ok(out) if out.code == 0);
        let answered = until("the node answers", Duration::from_secs(30), || {
            ended = child.try_wait().ok().flatten();
            enough = is_enough();
            enough || ended.is_some() || answers()
        });
        if let (Some(status), false) = (ended, enough) {
            bail!("berthd ended, {status}\n{}", self.log().unwrap_or_default());
        }
        self.berthd = Some(child);
        answered.with_context(|| self.log().unwrap_or_default())
    }

    /// The variables with which berthd is started the next time, instead of those it had.
    pub fn set_env(&mut self, env: &[(&str, &str)]) {
        self.env = env.iter().map(owned).collect();
    }

    /// What starts berthd the next time: the program with its first arguments, in place of the workspace's
    /// binary. It must become berthd itself (`nsenter --net=… berthd`), not start it.
    pub fn start_by<S: Into<OsString>>(&mut self, command: impl IntoIterator<Item = S>) {
        self.command = command.into_iter().map(Into::into).collect();
    }

    /// A path below the node's folder: `root`, `state`, `log`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The gateway's socket.
    #[must_use]
    pub fn address(&self) -> PathBuf {
        self.path("berth.sock")
    }

    /// The socket of a service (`runtime`), which the gateway and the other services call.
    #[must_use]
    pub fn socket(&self, service: &str) -> PathBuf {
        self.path("state").join(format!("{service}.sock"))
    }

    /// One of this workspace's binaries.
    ///
    /// # Errors
    /// When it was not built.
    pub fn binary(name: &str) -> Result<PathBuf> {
        let path = binaries()?.join(name);
        if path.exists() { Ok(path) } else { bail!("{} was not built", path.display()) }
    }

    /// `berth` on this node, with a command line split at spaces.
    #[must_use]
    pub fn berth(&self, line: &str) -> Run {
        let path = Self::binary("berth").unwrap_or_else(|_| "berth".into());
        program(path).args(["--address"]).args([self.address()]).args(line.split_whitespace())
    }

    /// `berth fsck` finds nothing on this node.
    ///
    /// # Errors
    /// What it finds, or that it does not work.
    pub fn fsck(&self) -> Result<()> {
        fsck(&self.address())
    }

    /// Debian's `ctr` on this node, with a command line split at spaces.
    #[must_use]
    pub fn ctr(&self, line: &str) -> Run {
        program("ctr").args(["--address"]).args([self.address()]).args(line.split_whitespace())
    }

    /// All that berthd and its services have logged.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs_err::read_to_string(self.path("log"))?)
    }

    /// Has the node take this configuration, and waits until so many more of its processes have told
    /// that these keys of it, in order and with commas between, are in force.
    ///
    /// # Errors
    /// When it is refused, or they do not tell.
    pub fn reload(&self, config: &str, keys: &str, processes: usize) -> Result<()> {
        let applied = format!("read the configuration again applied=\"{keys}\"");
        let told = || self.log().map_or(0, |log| log.matches(&applied).count());
        let before = told();
        fs_err::write(self.path("berth.toml"), config)?;
        let args = ["--config".into(), self.path("berth.toml"), "--root".into(), self.path("root")];
        self.berth("reload").args(args).output()?.ok()?;
        let what = format!("{processes} processes have told: {applied}");
        until(&what, RELOADS, || told() >= before + processes)
    }

    /// berthd's process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn berthd_pid(&self) -> Result<u32> {
        Ok(self.berthd.as_ref().context("berthd is not running")?.id())
    }

    /// The process of a service (`berth-runtime`), a child of berthd.
    ///
    /// # Errors
    /// When there is none at this moment.
    pub fn service_pid(&self, service: &str) -> Result<u32> {
        let berthd = self.berthd_pid()?;
        let ours = |pid: &u32| parent_of(*pid) == Some(berthd) && program_of(*pid) == service;
        processes::all().find(ours).with_context(|| format!("{service} is not running"))
    }

    /// The bytes that a service has read and written so far.
    ///
    /// # Errors
    /// When it is not running.
    pub fn io(&self, service: &str) -> Result<Io> {
        let path = format!("/proc/{}/io", self.service_pid(service)?);
        let text = fs_err::read_to_string(path)?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.and_then(|value| value.parse().ok()).with_context(|| format!("no {name}"))
        };
        Ok(Io { read: field("rchar")?, written: field("wchar")? })
    }

    /// Ends a service with SIGKILL and waits until it has ended: whoever calls it next does not reach
    /// the one that is dying. berthd is to start it again.
    ///
    /// # Errors
    /// When it is not running, or stays.
    pub fn kill_service(&self, service: &str) -> Result<()> {
        let (pid, berthd) = (self.service_pid(service)?, self.berthd_pid()?);
        self::signal(pid, Signal::KILL)?;
        // It is berthd's child until berthd has seen its end, and its number may be another's then.
        let ended = || has_ended(pid) || parent_of(pid) != Some(berthd);
        until(&format!("{service} has ended"), Duration::from_secs(60), ended)
    }

    /// Sends a signal to a service.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal_service(&self, service: &str, signal: Signal) -> Result<()> {
        self::signal(self.service_pid(service)?, signal)
    }

    /// Ends berthd with SIGKILL and waits until it and its services are gone.
    ///
    /// # Errors
    /// When it is not running or a service stays.
    pub fn kill_berthd(&mut self) -> Result<()> {
        let services: Vec<u32> = self.children();
        let mut child = self.berthd.take().context("berthd is not running")?;
        child.kill()?;
        child.wait()?;
        let gone = || services.iter().all(|pid| processes::has_ended(*pid));
        until("services end with berthd", Duration::from_secs(15), gone)
    }

    /// Ends berthd with SIGTERM and waits for it; answers its exit code.
    ///
    /// # Errors
    /// When it is not running.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        let mut child = self.berthd.take().context("berthd is not running")?;
        signal(child.id(), Signal::TERM)?;
        Ok(ended("berthd", &mut child, Duration::from_secs(60))?.code())
    }

    fn children(&self) -> Vec<u32> {
        let Ok(berthd) = self.berthd_pid() else { return vec![] };
        processes::all().filter(|pid| parent_of(*pid) == Some(berthd)).collect()
    }

    /// Processes whose command line names this node's folder: its shims.
    #[must_use]
    pub fn shims(&self) -> Vec<u32> {
        processes::shims(self.dir.path())
    }

    /// Waits until there is no shim any more: one ends after it has answered that it will, so
    /// that it may be seen once its task is gone.
    ///
    /// # Errors
    /// When one stays.
    pub fn shims_end(&self) -> Result<()> {
        until("shims end", SHIMS_END, || self.shims().is_empty())
            .with_context(|| format!("shims {:?}", self.shims()))
    }

    /// Mount points below the node's folder.
    #[must_use]
    pub fn mounts(&self) -> Vec<String> {
        processes::mounts(self.dir.path())
    }
}

/// `berth fsck` finds nothing on the node with this socket, bytes of blobs included.
///
/// # Errors
/// What it finds, or that it does not work.
pub fn fsck(address: &Path) -> Result<()> {
    let berth = program(Node::binary("berth")?).args(["--address"]).args([address]);
    berth.args(["fsck", "--digests"]).output()?.ok().map(drop)
}

fn owned((key, value): &(&str, &str)) -> (String, String) {
    ((*key).to_owned(), (*value).to_owned())
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the node's log:\n{}", self.log().unwrap_or_default());
        }
        if self.berthd.is_some() {
            let _ = self.kill_berthd();
        }
        clear_away(self.dir.path());
    }
}
