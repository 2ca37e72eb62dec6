//! Running a plugin's program: its input, its two outputs, its end.
//!
//! A plugin has ended when its process has. What it started and left behind may hold its outputs for as long as it
//! likes: only what is in the pipes by then is read.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use berth_lifecycle::child;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

use super::{Call, Command};
use crate::Error;

/// The most that a plugin may write to its standard output, in bytes.
pub const MAX_OUTPUT: usize = 1 << 20;
/// What is kept of a plugin's standard error, in bytes. The rest is read and dropped.
pub const MAX_ERRORS: usize = 64 << 10;
/// How long a killed process may take to go.
const GOING: Duration = Duration::from_secs(10);
/// Read at once.
const CHUNK: usize = 16 << 10;

pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// The plugin's process group, which is killed when this is dropped before the plugin was reaped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The leader has not been reaped, so the number is still the group's.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

pub(super) async fn to_the_end(call: Call<'_>) -> Result<Ended, Error> {
    let Call { plugin, path, command: verb, environment, input, deadline, turn } = call;
    let step = |step: &'static str| {
        let plugin = plugin.to_owned();
        move |source| Error::Run { step, plugin, command: verb, source }
    };
    let mut command = child::command(path);
    command.env_clear().envs(environment.into_pairs()).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(turn) = turn {
        child::pass(&mut command, turn);
    }
    let mut child = command.spawn().map_err(step("start"))?;
    drop(command);
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    let ended = tokio::time::timeout(deadline, Talk::new(&mut child, input).hold(&mut child)).await;
    let error = match ended {
        Ok(Ok((talk, status))) => {
            group.0 = None;
            return talk.finish(status).map_err(|source| told(plugin, verb, source));
        }
        Ok(Err(source)) => told(plugin, verb, source),
        Err(_) => Error::Deadline { plugin: plugin.to_owned(), command: verb, deadline },
    };
    drop(group);
    // One that does not go even now is in the kernel's hands: it is reaped later.
    let _ = tokio::time::timeout(GOING, child.wait()).await;
    Err(error)
}

fn told(plugin: &str, command: Command, source: io::Error) -> Error {
    let plugin = plugin.to_owned();
    if source.kind() == io::ErrorKind::FileTooLarge {
        return Error::TooMuch { plugin, command, limit: MAX_OUTPUT };
    }
    Error::Run { step: "talk to", plugin, command, source }
}

/// What goes to a plugin and comes from it.
struct Talk {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    input: Vec<u8>,
    sent: usize,
    said: Vec<u8>,
    errors: Vec<u8>,
}

impl Talk {
    fn new(child: &mut Child, input: Vec<u8>) -> Self {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Self { stdin, stdout, stderr, input, sent: 0, said: Vec::new(), errors: Vec::new() }
    }

    /// Until the process has ended, whatever else has.
    async fn hold(mut self, child: &mut Child) -> io::Result<(Self, ExitStatus)> {
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut error_chunk = Vec::with_capacity(CHUNK);
        loop {
            let (stdin, stdout, stderr) = (&mut self.stdin, &mut self.stdout, &mut self.stderr);
            tokio::select! {
                status = child.wait() => return Ok((self, status?)),
                sent = write(stdin, &self.input[self.sent..]) => {
                    self.sent += sent?;
                    if self.sent == self.input.len() {
                        self.stdin = None;
                    }
                }
                read = read(stdout, &mut chunk) => {
                    if read? == 0 {
                        self.stdout = None;
                    }
                    keep(&mut self.said, &chunk)?;
                    chunk.clear();
                }
                read = read(stderr, &mut error_chunk) => {
                    if read? == 0 {
                        self.stderr = None;
                    }
                    keep_some(&mut self.errors, &error_chunk);
                    error_chunk.clear();
                }
            }
        }
    }

    /// Takes what is still in the pipes.
    fn finish(mut self, status: ExitStatus) -> io::Result<Ended> {
        if let Some(stdout) = self.stdout.take() {
            rest(stdout.into_owned_fd()?, |chunk| keep(&mut self.said, chunk).map(|()| true))?;
        }
        if let Some(stderr) = self.stderr.take() {
            rest(stderr.into_owned_fd()?, |chunk| {
                keep_some(&mut self.errors, chunk);
                // Whoever writes more than that there now is not the plugin.
                Ok(self.errors.len() < MAX_ERRORS)
            })?;
        }
        Ok(Ended { status, stdout: self.said, stderr: self.errors })
    }
}

/// Reads what a pipe has now, while `more` of it is wanted.
fn rest(pipe: OwnedFd, mut more: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<()> {
    fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
    let mut chunk = [0; CHUNK];
    loop {
        match rustix::io::read(&pipe, &mut chunk) {
            Ok(0) | Err(Errno::WOULDBLOCK) => return Ok(()),
            Ok(length) if !more(&chunk[..length])? => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn keep(all: &mut Vec<u8>, chunk: &[u8]) -> io::Result<()> {
    if all.len() + chunk.len() > MAX_OUTPUT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    all.extend_from_slice(chunk);
    Ok(())
}

fn keep_some(all: &mut Vec<u8>, chunk: &[u8]) {
    let room = MAX_ERRORS - all.len().min(MAX_ERRORS);
    all.extend_from_slice(&chunk[..chunk.len().min(room)]);
}

/// Writes some; pends for ever when there is nobody to write to.
async fn write(to: &mut Option<ChildStdin>, bytes: &[u8]) -> io::Result<usize> {
    let Some(stdin) = to else { return std::future::pending().await };
    match stdin.write(bytes).await {
        // A plugin need not read its input.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
        written => written,
    }
}

/// Reads some; pends for ever when all is read.
async fn read<R: AsyncReadExt + Unpin>(
    from: &mut Option<R>,
    chunk: &mut Vec<u8>,
) -> io::Result<usize> {
    let Some(from) = from else { return std::future::pending().await };
    from.read_buf(chunk).await
}
