//! Programs that read a container's output (`binary://`).
//!
//! Such a program finds standard output at descriptor 3, standard error at 4, and closes 5 when it
//! is ready (`binary-v2` wants a byte there first).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::Error;
use crate::children::{Child, Children, command, pass};

/// How long the program may take to be ready.
const READY: Duration = Duration::from_secs(10);
/// How long it may take to end after SIGTERM.
const END: Duration = Duration::from_secs(12);

/// A running program and the pipes into it.
pub(crate) struct Logger {
    program: String,
    child: Child,
    children: Arc<Children>,
}

impl Logger {
    /// Starts the program and waits until it is ready; returns our ends of both outputs.
    pub(crate) async fn start(
        path: &Path,
        args: &[String],
        strict: bool,
        (namespace, id): (&str, &str),
        children: Arc<Children>,
    ) -> Result<(Logger, pipe::Sender, pipe::Sender), Error> {
        let program = path.display().to_string();
        let step = || Error::io(format!("start log program {program}"));
        let (stdout, stdout_end) = pipe::pipe().map_err(step())?;
        let (stderr, stderr_end) = pipe::pipe().map_err(step())?;
        let (ready_end, mut ready) = pipe::pipe().map_err(step())?;
        let ends = [
            stdout_end.into_blocking_fd().map_err(step())?,
            stderr_end.into_blocking_fd().map_err(step())?,
            ready_end.into_blocking_fd().map_err(step())?,
        ];
        let mut command = command(&program);
        command.args(args).env_clear();
        command.env("CONTAINER_ID", id).env("CONTAINER_NAMESPACE", namespace);
        pass(&mut command, &ends).map_err(step())?;
        let child = children.spawn(&mut command)?;
        drop((command, ends));
        let mut said = [0; 1];
        let count = match tokio::time::timeout(READY, ready.read(&mut said)).await {
            Ok(count) => count.map_err(step())?,
            Err(_) => {
                children.kill(child.pid, Signal::KILL);
                return Err(Error::Deadline { program, after: READY });
            }
        };
        if strict && count == 0 {
            children.kill(child.pid, Signal::KILL);
            let reason = "it ended before it was ready".to_owned();
            return Err(Error::Invalid { what: format!("log program {program}"), reason });
        }
        Ok((Logger { program, child, children }, stdout, stderr))
    }

    /// Ends the program, which has had the end of both outputs.
    pub(crate) async fn end(self) -> Result<(), Error> {
        self.children.kill(self.child.pid, Signal::TERM);
        self.children.wait(&self.program, self.child, END).await.map(drop)
    }
}
