//! A command within a container: its pipes, its process, its end.
//!
//! Invariant: nothing of a command is left once [`Command::clear_away`] has answered, unless it has told of that.

use std::path::PathBuf;
use std::time::Duration;

use berth_lifecycle::blocking;
use berth_runtime_spec::Process;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::{Container, Containers, Parts, Shared};
use crate::folders;
use crate::peers::tasks::{self, KILL, Pipes, Whose};
use crate::peers::{Node, WORK};
use crate::{Error, Result, ids};

/// Which streams a command has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// A command, and the folder of its pipes.
pub(crate) struct Command {
    node: Node,
    whose: Whose,
    pipes: PathBuf,
    wanted: Wanted,
}

/// Our ends of its pipes.
pub(crate) struct Ends {
    pub stdin: Option<pipe::Sender>,
    pub stdout: Option<pipe::Receiver>,
    pub stderr: Option<pipe::Receiver>,
    /// Keep the outputs from ending before the shim has opened its ends.
    hold: Vec<pipe::Sender>,
}

impl Shared {
    /// Makes a command of a container that runs, with its pipes.
    pub(crate) async fn command(
        &self,
        container: &Container,
        args: Vec<String>,
        wanted: Wanted,
    ) -> Result<(Command, Ends, Process)> {
        container.runs()?;
        let process = self.process(container, args, wanted.tty).await?;
        let id = ids::new()?;
        let pipes = self.parts.folders.streams(container.id()).join(&id);
        let whose = Whose { container: container.id().to_owned(), command: id };
        let command = Command { node: self.parts.node.clone(), whose, pipes, wanted };
        match command.open().await {
            Ok(ends) => Ok((command, ends, process)),
            Err(error) => {
                command.clear_away().await;
                Err(error)
            }
        }
    }

    /// The container's own process with another command.
    async fn process(
        &self,
        container: &Container,
        args: Vec<String>,
        tty: bool,
    ) -> Result<Process> {
        if args.is_empty() {
            return Err(Error::Invalid("exec command cannot be empty".to_owned()));
        }
        let spec = self.spec_on_record(container).await?;
        let mut process = spec.process().clone().unwrap_or_default();
        let mut env = process.env().clone().unwrap_or_default();
        if tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
            env.push("TERM=xterm".to_owned());
        }
        process.set_args(Some(args)).set_env(Some(env)).set_terminal(Some(tty));
        process.set_console_size(None);
        Ok(process)
    }
}

impl Command {
    /// One that an earlier run has made.
    pub(super) fn earlier(parts: &Parts, container: &str, name: String) -> Self {
        let pipes = parts.folders.streams(container).join(&name);
        let whose = Whose { container: container.to_owned(), command: name };
        Self { node: parts.node.clone(), whose, pipes, wanted: Wanted::default() }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let Wanted { stdin, stdout, stderr, .. } = self.wanted;
        let all = [("stdin", stdin), ("stdout", stdout), ("stderr", stderr)];
        all.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(name, _)| name)
    }

    async fn open(&self) -> Result<Ends> {
        let (pipes, names) = (self.pipes.clone(), self.names());
        let make = move || {
            folders::make(&pipes, 0o700)?;
            names.into_iter().try_for_each(|name| {
                let made =
                    mknodat(CWD, pipes.join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
                made.map_err(|errno| Error::file("make pipe", pipes.join(name))(errno.into()))
            })
        };
        blocking("exec-pipes", make).await??;
        let failed = |name: &str| Error::file("open pipe", self.pipes.join(name));
        let reader = |name: &str| {
            pipe::OpenOptions::new().open_receiver(self.pipes.join(name)).map_err(failed(name))
        };
        let writer = |name: &str| {
            let mut options = pipe::OpenOptions::new();
            // For reading too, or opening would need the other side to be there already.
            options.read_write(true).open_sender(self.pipes.join(name)).map_err(failed(name))
        };
        let Wanted { stdin, stdout, stderr, .. } = self.wanted;
        Ok(Ends {
            stdin: stdin.then(|| writer("stdin")).transpose()?,
            stdout: stdout.then(|| reader("stdout")).transpose()?,
            stderr: stderr.then(|| reader("stderr")).transpose()?,
            hold: self
                .names()
                .filter(|name| *name != "stdin")
                .map(writer)
                .collect::<Result<_>>()?,
        })
    }

    /// Runs it. Its pipes are read from now on.
    pub(crate) async fn start(&self, ends: &mut Ends, process: &Process) -> Result<()> {
        let path = |name: &str, is_wanted: bool| match is_wanted {
            true => self.pipes.join(name),
            false => PathBuf::new(),
        };
        let pipes = Pipes {
            stdin: path("stdin", self.wanted.stdin),
            stdout: path("stdout", self.wanted.stdout),
            stderr: path("stderr", self.wanted.stderr),
        };
        tasks::exec(&self.node, &self.whose, process, pipes).await?;
        ends.hold.clear();
        Ok(())
    }

    /// Waits for its end, and kills it when the limit has passed; none is endless.
    pub(crate) async fn wait(&self, limit: Option<Duration>) -> Result<i32> {
        let waiting = tasks::wait(&self.node, &self.whose, None);
        let waited = match limit {
            None => Ok(waiting.await),
            Some(limit) => timeout(limit, waiting).await,
        };
        match waited {
            Ok(ended) => {
                let gone = || Error::NotFound(format!("exec {:?}", self.whose.command));
                ended?.map(|exit| exit.code).ok_or_else(gone)
            }
            Err(_) => {
                self.kill().await?;
                let limit = limit.unwrap_or_default();
                Err(Error::Deadline(format!("timeout {limit:?} exceeded")))
            }
        }
    }

    /// Kills it, and waits for its end.
    pub(crate) async fn kill(&self) -> Result<()> {
        tasks::kill(&self.node, &self.whose, KILL).await?;
        tasks::wait(&self.node, &self.whose, Some(WORK)).await.map(drop)
    }

    /// Its terminal has another size.
    pub(crate) async fn resize(&self, width: u16, height: u16) -> Result<()> {
        tasks::resize(&self.node, &self.whose, (width, height)).await
    }

    /// Its input has ended.
    pub(crate) async fn close_input(&self) -> Result<()> {
        tasks::close_input(&self.node, &self.whose).await
    }

    /// Takes away what is left of it; one that runs still is killed. By the folder of its pipes it is found again where
    /// that cannot be.
    pub(super) async fn clear(&self) -> Result<()> {
        let mut deleted = tasks::delete(&self.node, &self.whose).await;
        if deleted.is_err() {
            deleted = tasks::end(&self.node, &self.whose, WORK).await;
        }
        deleted?;
        let pipes = self.pipes.clone();
        blocking("exec-pipes", move || folders::remove(&pipes)).await?
    }

    /// The same where it is no concern of who waits for the command: what fails goes with the container.
    pub(crate) async fn clear_away(&self) {
        if let Err(error) = self.clear().await {
            let Whose { container, command } = &self.whose;
            let error = berth_errors::chain(&error);
            tracing::warn!(container, command, error, "take away what is left of a command");
        }
    }
}

impl Containers {
    /// The terminal of a container's own process has another size.
    ///
    /// # Errors
    /// [`Error::Peer`].
    pub async fn resize(&self, container: &Container, width: u16, height: u16) -> Result<()> {
        tasks::resize(&self.0.parts.node, &Whose::own(container.id()), (width, height)).await
    }
}
