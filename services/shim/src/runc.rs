//! runc's command line.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Deserialize;

use crate::bundle::Kept;
use crate::cgroup::Left;
use crate::children::{Children, Kills, Output, command};
use crate::runs::Run;
use crate::{Error, log, patience};

/// How long one command of runc may take; hooks run inside of it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to clean up after one that was killed.
const CLEANING: Duration = Duration::from_secs(20);
/// How long the kernel may take to end what was killed, until its control groups are empty.
const EMPTIED: Duration = Duration::from_secs(2);
/// How long a container's memory may take to be written, or to be read again.
const DUMPING: Duration = Duration::from_secs(590);
/// The most of runc's log that is looked at, in bytes: it may quote a command, each sign of which takes several.
const MAX_LOG: u64 = 1 << 20;
/// The longest message of it that is passed on.
const MAX_MESSAGE: usize = 64 << 10;

/// runc for the container of one bundle.
pub(crate) struct Runc {
    binary: String,
    container: String,
    root: PathBuf,
    bundle: PathBuf,
    systemd_cgroup: bool,
    children: Arc<Children>,
    calls: AtomicU32,
}

/// A command that did not end in time, and that was killed with all that it had started.
struct Late {
    error: Error,
    /// Those that any of it was in.
    groups: Left,
}

/// The three standard streams of a container's process.
pub(crate) type Streams = [Stdio; 3];

impl Runc {
    pub(crate) fn new(
        kept: &Kept,
        namespace: &str,
        container: &str,
        bundle: &Path,
        children: Arc<Children>,
    ) -> Runc {
        let binary = if kept.binary_name.is_empty() { "runc" } else { &kept.binary_name };
        Runc {
            binary: binary.to_owned(),
            container: container.to_owned(),
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
        let bound = (patience::within(PATIENCE), Kills::Whole);
        self.captured(bound, what, args, input).await
    }

    /// Has a container's memory written. Who writes it has the processes in its hands and has to let go of
    /// them itself: it is not killed with runc.
    pub(crate) async fn dump<S: AsRef<OsStr>>(
        &self,
        what: &'static str,
        args: &[S],
    ) -> Result<(), Error> {
        let bound = (patience::within(DUMPING), Kills::Alone);
        self.captured(bound, what, args, &[]).await.map(drop)
    }

    async fn captured<S: AsRef<OsStr>>(
        &self,
        (within, kills): (Duration, Kills),
        what: &'static str,
        args: &[S],
        input: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let log = self.log();
        let mut command = self.command(&log);
        command.args(args);
        let verb = args.first().map(AsRef::as_ref);
        let run = Run::begin(&self.bundle, verb);
        let output = self.children.output(command, input, within, kills).await;
        drop(run);
        let output = output.map_err(|error| match error {
            Error::Deadline { .. } => self.late(verb, within),
            other => self.absent(other),
        });
        let Output { status, stdout, stderr } = keep_log(&log, output)?;
        if status == 0 {
            let _ = std::fs::remove_file(&log);
            return Ok(stdout);
        }
        Err(Error::Runtime { what, message: message(&log, status, &stderr) })
    }

    /// Runs a command whose standard streams become those of a process that is added to the container.
    pub(crate) async fn add<S: AsRef<OsStr>>(
        &self,
        what: &'static str,
        args: &[S],
        streams: Option<Streams>,
    ) -> Result<(), Error> {
        let done = self.attached(patience::within(PATIENCE), what, args, streams).await?;
        done.map_err(|late| late.error)
    }

    /// Runs one that makes the container. Nothing of that is left when it does not end in time.
    pub(crate) async fn create<S: AsRef<OsStr>>(
        &self,
        what: &'static str,
        args: &[S],
        streams: Option<Streams>,
    ) -> Result<(), Error> {
        self.make(PATIENCE, what, args, streams).await
    }

    /// The same of one that has to read the container's memory.
    pub(crate) async fn restore<S: AsRef<OsStr>>(
        &self,
        what: &'static str,
        args: &[S],
        streams: Option<Streams>,
    ) -> Result<(), Error> {
        self.make(DUMPING, what, args, streams).await
    }

    async fn make<S: AsRef<OsStr>>(
        &self,
        within: Duration,
        what: &'static str,
        args: &[S],
        streams: Option<Streams>,
    ) -> Result<(), Error> {
        let made = self.attached(patience::within(within), what, args, streams).await?;
        let Err(late) = made else { return Ok(()) };
        self.undo().await;
        // runc knows of no group of a container that it had not come to write down.
        if let Err(error) = late.groups.remove(EMPTIED).await {
            log::warn(format_args!("container {}: {error}", self.container));
        }
        Err(late.error)
    }

    /// Takes away a container that could not be made as a whole.
    pub(crate) async fn undo(&self) {
        let force = ["delete", "--force", &self.container];
        let bound = (CLEANING, Kills::Whole);
        if let Err(error) = self.captured(bound, "failed to delete task", &force, &[]).await {
            log::warn(format_args!("container {}: undo its creation: {error}", self.container));
        }
    }

    async fn attached<S: AsRef<OsStr>>(
        &self,
        within: Duration,
        what: &'static str,
        args: &[S],
        streams: Option<Streams>,
    ) -> Result<Result<(), Late>, Error> {
        let log = self.log();
        let mut command = self.command(&log);
        command.args(args);
        if let Some([stdin, stdout, stderr]) = streams {
            command.stdin(stdin).stdout(stdout).stderr(stderr);
        }
        let verb = args.first().map(AsRef::as_ref);
        let run = Run::begin(&self.bundle, verb);
        let child = self.children.spawn(&mut command);
        // With it go our ends of the container's pipes.
        drop(command);
        let mut child = child.map_err(|error| self.absent(error))?;
        let exit = self.children.ended(&mut child, within).await;
        drop(run);
        let Some(exit) = keep_log(&log, exit)? else {
            let groups = self.children.kill_whole(&mut child).await;
            let _ = std::fs::remove_file(&log);
            return Ok(Err(Late { error: self.late(verb, within), groups }));
        };
        if exit.status == 0 {
            let _ = std::fs::remove_file(&log);
            return Ok(Ok(()));
        }
        Err(Error::Runtime { what, message: message(&log, exit.status, &[]) })
    }

    fn late(&self, verb: Option<&OsStr>, after: Duration) -> Error {
        let verb = verb.unwrap_or_default().to_string_lossy();
        let advice = match &*verb {
            "create" | "exec" => {
                "look for a hook that does not end, and for a file of the image that does not when it is \
                 read, such as an /etc/passwd that is a link to a device"
            }
            "start" => {
                "look for what holds up its first process, such as a signal that has stopped it"
            }
            "checkpoint" | "restore" => {
                "look for storage that is too slow for the container's memory"
            }
            _ => "look for a hook, and for storage, that does not answer, and try again",
        };
        let command = format!("{} {verb}", self.binary);
        Error::Late { container: self.container.clone(), command, after, advice }
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

/// What is left of a message that quotes something long: answers have bounds of their own. What it is about stands at
/// its beginning, and why at its end.
fn shortened(message: String) -> String {
    if message.len() <= MAX_MESSAGE {
        return message;
    }
    let head = message.floor_char_boundary(MAX_MESSAGE / 2);
    let tail = message.ceil_char_boundary(message.len() - MAX_MESSAGE / 2);
    format!("{} … {}", &message[..head], &message[tail..])
}

/// What runc said last: in its log, else on its standard error. The log is removed.
fn message(log: &Path, status: u32, stderr: &[u8]) -> String {
    let mut text = Vec::new();
    // What cannot be read is none.
    let _ = File::open(log).and_then(|log| log.take(MAX_LOG).read_to_end(&mut text));
    let _ = std::fs::remove_file(log);
    let lines = serde_json::Deserializer::from_slice(&text).into_iter::<Line>();
    let last = lines.map_while(Result::ok).filter(|line| line.level == "error").last();
    match last.map(|line| line.msg.trim().to_owned()) {
        Some(message) if !message.is_empty() => shortened(message),
        _ => match String::from_utf8_lossy(stderr).trim() {
            "" => format!("exit status {status}"),
            words => format!("exit status {status}: {words}"),
        },
    }
}
