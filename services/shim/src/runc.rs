//! runc's command line.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Deserialize;

use crate::Error;
use crate::bundle::Kept;
use crate::children::{Children, Output, command};
use crate::runs::Run;

/// How long one command of runc may take; hooks run inside of it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a container's memory may take to be written, or to be read again.
pub(crate) const DUMPING: Duration = Duration::from_secs(590);
/// The most of runc's log that is looked at.
const MAX_LOG: usize = 256 << 10;

/// runc for the containers of one bundle.
pub(crate) struct Runc {
    binary: String,
    root: PathBuf,
    bundle: PathBuf,
    systemd_cgroup: bool,
    children: Arc<Children>,
    calls: AtomicU32,
}

/// The three standard streams of a container's process.
pub(crate) type Streams = [Stdio; 3];

impl Runc {
    pub(crate) fn new(
        kept: &Kept,
        namespace: &str,
        bundle: &Path,
        children: Arc<Children>,
    ) -> Runc {
        let binary = if kept.binary_name.is_empty() { "runc" } else { &kept.binary_name };
        Runc {
            binary: binary.to_owned(),
            root: kept.runc_root(namespace),
            bundle: bundle.to_owned(),
            systemd_cgroup: kept.systemd_cgroup,
            children,
            calls: AtomicU32::new(0),
        }
    }

    /// Runs a command that only concerns runc itself and returns its standard output.
    pub(crate) async fn run<S: AsRef<OsStr>>(
        &self,
        what: &'static str,
        args: &[S],
        input: &[u8],
    ) -> Result<Vec<u8>, Error> {
        self.run_within(PATIENCE, what, args, input).await
    }

    /// Runs one that may take another time than most.
    pub(crate) async fn run_within<S: AsRef<OsStr>>(
        &self,
        patience: Duration,
        what: &'static str,
        args: &[S],
        input: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let log = self.log();
        let mut command = self.command(&log);
        command.args(args);
        let run = Run::begin(&self.bundle, args.first().map(AsRef::as_ref));
        let output = self.children.output(command, input, patience).await;
        drop(run);
        let output = output.map_err(|error| self.absent(error));
        let Output { status, stdout, stderr } = keep_log(&log, output)?;
        if status == 0 {
            let _ = std::fs::remove_file(&log);
            return Ok(stdout);
        }
        Err(Error::Runtime { what, message: message(&log, status, &stderr) })
    }

    /// Runs a command whose standard streams become those of a process in the container.
    pub(crate) async fn run_attached<S: AsRef<OsStr>>(
        &self,
        what: &'static str,
        args: &[S],
        streams: Option<Streams>,
    ) -> Result<(), Error> {
        self.run_attached_within(PATIENCE, what, args, streams).await
    }

    /// Runs one that may take another time than most.
    pub(crate) async fn run_attached_within<S: AsRef<OsStr>>(
        &self,
        patience: Duration,
        what: &'static str,
        args: &[S],
        streams: Option<Streams>,
    ) -> Result<(), Error> {
        let log = self.log();
        let mut command = self.command(&log);
        command.args(args);
        if let Some([stdin, stdout, stderr]) = streams {
            command.stdin(stdin).stdout(stdout).stderr(stderr);
        }
        let run = Run::begin(&self.bundle, args.first().map(AsRef::as_ref));
        let child = self.children.spawn(&mut command);
        // With it go our ends of the container's pipes.
        drop(command);
        let child = child.map_err(|error| self.absent(error))?;
        let exit = self.children.wait(&self.binary, child, patience).await;
        drop(run);
        let exit = keep_log(&log, exit)?;
        if exit.status == 0 {
            let _ = std::fs::remove_file(&log);
            return Ok(());
        }
        Err(Error::Runtime { what, message: message(&log, exit.status, &[]) })
    }

    /// Tells a runtime that is not there from one that fails.
    fn absent(&self, error: Error) -> Error {
        match error {
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Error::NoRuntime(self.binary.clone())
            }
            other => other,
        }
    }

    fn log(&self) -> PathBuf {
        self.bundle.join(format!("runc-{}.log", self.calls.fetch_add(1, Ordering::Relaxed)))
    }

    fn command(&self, log: &Path) -> Command {
        let mut command = command(&self.binary);
        command.arg("--root").arg(&self.root);
        command.arg("--log").arg(log).args(["--log-format", "json"]);
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command
    }
}

/// The log of a command that could not run, or not to its end, is of no use.
fn keep_log<T>(log: &Path, result: Result<T, Error>) -> Result<T, Error> {
    result.inspect_err(|_| {
        let _ = std::fs::remove_file(log);
    })
}

#[derive(Deserialize)]
struct Line {
    level: String,
    msg: String,
}

/// What runc said last: in its log, else on its standard error. The log is removed.
fn message(log: &Path, status: u32, stderr: &[u8]) -> String {
    let mut text = std::fs::read(log).unwrap_or_default();
    let _ = std::fs::remove_file(log);
    text.truncate(MAX_LOG);
    let lines = serde_json::Deserializer::from_slice(&text).into_iter::<Line>();
    let last = lines.map_while(Result::ok).filter(|line| line.level == "error").last();
    match last.map(|line| line.msg.trim().to_owned()) {
        Some(message) if !message.is_empty() => message,
        _ => match String::from_utf8_lossy(stderr).trim() {
            "" => format!("exit status {status}"),
            words => format!("exit status {status}: {words}"),
        },
    }
}
