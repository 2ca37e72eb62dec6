//! The one place where the shim starts programs, and where it reaps: it is the parent of what it
//! starts and, as subreaper, of whatever a container leaves behind.
//!
//! tokio's children are of no use here: they are waited for one by one, and the shim has to wait
//! for any.

mod whole;

use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::Error;
use crate::cgroup::Left;
use crate::tasks::lock;

/// The most that is kept of each of a program's outputs.
const MAX_OUTPUT: u64 = 1 << 20;
/// How long the kernel may take to end a program that was killed.
const KILLED: Duration = Duration::from_secs(5);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Its exit code, or 128 and the signal.
    pub status: u32,
    /// When it was reaped.
    pub at: SystemTime,
}

/// What a program wrote and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub status: u32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// What is killed when a program does not end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kills {
    /// The program: what it has started ends in its own way.
    Alone,
    /// The program, and all that it has started.
    Whole,
}

/// A program that was started.
pub(crate) struct Child {
    pub pid: i32,
    exit: oneshot::Receiver<Exit>,
}

/// All children of this process.
#[derive(Default)]
pub(crate) struct Children {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiters: HashMap<i32, oneshot::Sender<Exit>>,
    /// Exits of processes that nobody knows yet, kept while somebody learns of new ones.
    strays: Vec<(i32, Exit)>,
    learning: usize,
}

/// While it lives, exits of unknown processes are kept for [`Children::claim`].
pub(crate) struct Learning<'a>(&'a Children);

impl Drop for Learning<'_> {
    fn drop(&mut self) {
        let mut inner = lock(&self.0.inner);
        inner.learning -= 1;
        if inner.learning == 0 {
            inner.strays = Vec::new();
        }
    }
}

/// A command that ends with the shim and holds none of its descriptors.
#[allow(clippy::disallowed_methods, reason = "this is the shim's one place that makes commands")]
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: one system call between fork and exec; nothing allocates or locks.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(())
        });
    }
    command
}

/// Makes a process that goes on as this one does, in a session of its own and without its standard
/// streams. To run the program anew would take longer than all else that a start does. Answers the
/// new process's number to the one that was there, and nothing to the new one.
///
/// Has to be called while the process has one thread.
pub(crate) fn daemon() -> io::Result<Option<Pid>> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: there is one thread, hence no lock that another one holds.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            rustix::process::setsid()?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
            Ok(None)
        }
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Gives the program these descriptors as 3, 4 and so on.
pub(crate) fn pass(command: &mut Command, ends: &[OwnedFd]) -> io::Result<()> {
    // Out of the way of the numbers that they are to have.
    let high = |end| rustix::io::fcntl_dupfd_cloexec(end, 16);
    let ends = ends.iter().map(high).collect::<Result<Vec<_>, _>>()?;
    // SAFETY: only dup2 between fork and exec, from descriptors that the closure owns to numbers
    // below all of them, which nothing in this child uses.
    unsafe {
        command.pre_exec(move || {
            for (end, number) in ends.iter().zip(3..) {
                if libc::dup2(end.as_raw_fd(), number) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    Ok(())
}

impl Children {
    /// Starts a program. Its end is noticed by [`Children::reap`].
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(Error::io(format!("start {program}")))?;
        let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
        let (sender, exit) = oneshot::channel();
        lock(&self.inner).waiters.insert(pid, sender);
        Ok(Child { pid, exit })
    }

    /// Waits for the end of a program, killing it when `deadline` passes.
    pub(crate) async fn wait(
        &self,
        program: &str,
        mut child: Child,
        deadline: Duration,
    ) -> Result<Exit, Error> {
        match self.ended(&mut child, deadline).await? {
            Some(exit) => Ok(exit),
            None => {
                self.kill(child.pid, Signal::KILL);
                Err(Error::Deadline { program: program.to_owned(), after: deadline })
            }
        }
    }

    /// The end of a program, if that comes in time.
    pub(crate) async fn ended(
        &self,
        child: &mut Child,
        within: Duration,
    ) -> Result<Option<Exit>, Error> {
        match tokio::time::timeout(within, &mut child.exit).await {
            Ok(exit) => exit.map(Some).map_err(|_| Error::State("the shim is ending")),
            Err(_) => Ok(None),
        }
    }

    /// Kills a program with all that it has started; answers their control groups once the program is gone.
    pub(crate) async fn kill_whole(&self, child: &mut Child) -> Left {
        let there = lock(&self.inner).waiters.contains_key(&child.pid);
        let groups = if there { whole::kill(child.pid) } else { Left::default() };
        // One in a call of the kernel that does not end has been told at least.
        let _ = tokio::time::timeout(KILLED, &mut child.exit).await;
        groups
    }

    /// Signals a program that was started here and has not been reaped.
    pub(crate) fn kill(&self, pid: i32, signal: Signal) {
        if lock(&self.inner).waiters.contains_key(&pid)
            && let Some(pid) = Pid::from_raw(pid)
        {
            // It may be a zombie already.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Runs a program with its outputs captured and `input` on its standard input.
    pub(crate) async fn output(
        &self,
        mut command: Command,
        input: &[u8],
        deadline: Duration,
        kills: Kills,
    ) -> Result<Output, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let step = || Error::io(format!("make pipes for {program}"));
        let (out, stdout) = pipe::pipe().map_err(step())?;
        let (err, stderr) = pipe::pipe().map_err(step())?;
        command.stdout(out.into_blocking_fd().map_err(step())?);
        command.stderr(err.into_blocking_fd().map_err(step())?);
        let mut feed = None;
        if !input.is_empty() {
            let (sender, receiver) = pipe::pipe().map_err(step())?;
            command.stdin(receiver.into_blocking_fd().map_err(step())?);
            feed = Some(sender);
        }
        let mut child = self.spawn(&mut command)?;
        drop(command);
        let feed = async {
            if let Some(mut feed) = feed {
                // A program need not read its input; its exit status tells.
                let _ = feed.write_all(input).await;
            }
        };
        let (exit, stdout, stderr, ()) = tokio::join!(
            async {
                if kills == Kills::Alone {
                    return self.wait(&program, child, deadline).await;
                }
                if let Some(exit) = self.ended(&mut child, deadline).await? {
                    return Ok(exit);
                }
                self.kill_whole(&mut child).await;
                Err(Error::Deadline { program: program.clone(), after: deadline })
            },
            tokio::time::timeout(deadline, bounded(stdout)),
            tokio::time::timeout(deadline, bounded(stderr)),
            feed,
        );
        let status = exit?.status;
        Ok(Output {
            status,
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
        })
    }

    /// Keeps exits of unknown processes from now on.
    pub(crate) fn learning(&self) -> Learning<'_> {
        lock(&self.inner).learning += 1;
        Learning(self)
    }

    /// The exit of a process that ended before anybody knew it.
    pub(crate) fn claim(&self, pid: i32) -> Option<Exit> {
        let mut inner = lock(&self.inner);
        let place = inner.strays.iter().position(|(stray, _)| *stray == pid)?;
        Some(inner.strays.swap_remove(place).1)
    }

    /// Keeps an exit that belongs to nobody known, if somebody may learn of it.
    pub(crate) fn stray(&self, pid: i32, exit: Exit) {
        let mut inner = lock(&self.inner);
        if inner.learning > 0 {
            inner.strays.push((pid, exit));
        }
    }

    /// Reaps all that has ended; returns those that were not started by [`Children::spawn`].
    pub(crate) fn reap(&self) -> Vec<(i32, Exit)> {
        let mut others = Vec::new();
        // An error means that there are no children.
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            let status = status.exit_status().or(signal).unwrap_or(255);
            let exit = Exit { status: u32::try_from(status).unwrap_or(255), at: SystemTime::now() };
            let pid = pid.as_raw_nonzero().get();
            match lock(&self.inner).waiters.remove(&pid) {
                // Nobody may wait for it any more.
                Some(waiter) => drop(waiter.send(exit)),
                None => others.push((pid, exit)),
            }
        }
        others
    }

    /// Runs a future while reaping, for the short-lived actions and for the end.
    pub(crate) async fn reaping<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        let mut ended = signal(SignalKind::child()).map_err(Error::io("watch SIGCHLD"))?;
        // What ended before we watched is not told.
        drop(self.reap());
        tokio::pin!(future);
        loop {
            tokio::select! {
                done = &mut future => return Ok(done),
                _ = ended.recv() => drop(self.reap()),
            }
        }
    }
}

async fn bounded(pipe: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before an error is what there is to show.
    let _: io::Result<usize> = pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    bytes
}
