//! Start: the first process of a container, or a further one.

use std::ffi::OsString;
use std::sync::Arc;

use berth_proto::containerd::events::{TaskExecStarted, TaskStart};

use super::container::{Inner, State};
use super::process::Phase;
use super::restore::Restore;
use super::{Container, Shim, process_file};
use crate::Error;
use crate::bundle::read_pid;
use crate::children::Exit;
use crate::io::{ConsoleSocket, Speaker, Stdio, Streams, attach_console, prepare};

/// What a shell answers for a program that it cannot run.
const NOT_RUN: u32 = 127;

impl Shim {
    /// Starts a process; returns its process id.
    pub(crate) async fn start(self: Arc<Self>, id: String, exec: String) -> Result<i32, Error> {
        let container = self.settled(&id).await?;
        if exec.is_empty() {
            self.start_init(&container).await
        } else {
            self.start_exec(&container, &exec).await
        }
    }

    async fn start_init(self: &Arc<Self>, container: &Arc<Container>) -> Result<i32, Error> {
        let changing = container.unless_restoring().await?;
        let pid = {
            let mut inner = container.inner();
            match inner.state() {
                State::Created => {}
                State::Running => return Err(Error::Transition("cannot start a running process")),
                State::Paused => return Err(Error::Transition("cannot start a paused process")),
                State::Stopped => return Err(ended(&container.id, &inner)),
            }
            inner.init.starting = true;
            inner.init.pid
        };
        let learning = container.restore.is_some().then(|| self.children.learning());
        // Whatever else is asked for while it is restored is refused, and need not wait for that.
        let _changing = learning.is_none().then_some(changing);
        let started = self.run_init(container, pid).await;
        let held = {
            let mut inner = container.inner();
            inner.init.starting = false;
            if let Ok(pid) = started {
                inner.init.run();
                let container_id = container.id.clone();
                self.publisher.publish(&TaskStart { container_id, pid: pid.unsigned_abs() });
            }
            inner.init.held.take()
        };
        let started = match (started, held) {
            // It ended when runc was to start it already.
            (Err(Error::Runtime { message, .. }), Some(exit)) if has_ended(&message) => {
                Err(Error::EndedEarly { container: container.id.clone(), status: exit.status })
            }
            (started, _) => started,
        };
        let restored = started.as_ref().ok().filter(|_| learning.is_some());
        let held = held.or_else(|| self.children.claim(*restored?));
        if let Some(exit) = held {
            self.ended(container, "", exit);
        }
        drop(learning);
        started
    }

    /// Has the first process run that waits to be started, or that a checkpoint holds.
    async fn run_init(self: &Arc<Self>, container: &Container, pid: i32) -> Result<i32, Error> {
        let Some(restore) = &container.restore else {
            let what = "OCI runtime start failed";
            let started = container.runc.run(what, &["start", &container.id], &[]).await;
            if matches!(started, Err(Error::Late { .. })) {
                // It may have come to run, of which nobody would know.
                container.end_first();
            }
            return started.map(|_| pid);
        };
        let (pid, streams) = Self::run_restored(container, restore).await?;
        self.watch_cgroup(container, pid);
        let mut inner = container.inner();
        (inner.init.pid, inner.init.streams) = (pid, Some(streams));
        Ok(pid)
    }

    /// Has a checkpoint's processes run; answers the first one.
    async fn run_restored(
        container: &Container,
        restore: &Restore,
    ) -> Result<(i32, Streams), Error> {
        const WHAT: &str = "OCI runtime restore failed";
        let pid_file = process_file(&container.bundle, "init", ".pid");
        let stdio = container.inner().init.stdio.clone();
        let owner = container.owner(&container.id);
        let mut args = restore.arguments(&container.bundle, &pid_file);
        let streams = if stdio.terminal {
            let socket = ConsoleSocket::bind(&container.bundle, "init")?;
            args.extend(["--console-socket".into(), socket.path().into()]);
            args.push(container.id.clone().into());
            container.runc.restore(WHAT, &args, None).await?;
            attach_console(&stdio, &owner, socket.receive().await?).await?
        } else {
            let (streams, ends) = prepare(&stdio, &owner).await?;
            args.push(container.id.clone().into());
            let restore = container.runc.restore(WHAT, &args, Some(ends));
            streams.begin(Speaker::Process, restore).await?
        };
        Ok((read_pid(&pid_file)?, streams))
    }

    async fn start_exec(
        self: &Arc<Self>,
        container: &Arc<Container>,
        exec: &str,
    ) -> Result<i32, Error> {
        let (stdio, spec) = {
            let mut inner = container.inner();
            if inner.init_exit.is_some() || !inner.init.alive() {
                return Err(Error::InitExited(container.id.clone()));
            }
            let process = inner.process(exec)?;
            match process.phase {
                Phase::Created if !process.starting => {}
                Phase::Stopped => return Err(Error::Transition("cannot start a stopped process")),
                _ => return Err(Error::Transition("cannot start a running process")),
            }
            process.starting = true;
            (process.stdio.clone(), std::mem::take(&mut process.spec))
        };
        let learning = self.children.learning();
        let started = run_exec(container, exec, &stdio, &spec).await;
        let (pid, started) = match started {
            Ok((pid, streams)) => (pid, Ok(streams)),
            Err(error) => (0, Err(error)),
        };
        let result = {
            let mut inner = container.inner();
            let process = inner.process(exec)?;
            process.starting = false;
            process.pid = pid;
            match started {
                Ok(streams) => {
                    process.run();
                    process.streams = Some(streams);
                    self.publisher.publish(&TaskExecStarted {
                        container_id: container.id.clone(),
                        exec_id: exec.to_owned(),
                        pid: pid.unsigned_abs(),
                    });
                    Ok(pid)
                }
                Err(error) => {
                    // It never ran: nothing is told, but nobody is to wait for it.
                    process.finish(Exit { status: NOT_RUN, at: std::time::SystemTime::now() });
                    Err(error)
                }
            }
        };
        if let Some(exit) = self.children.claim(pid) {
            self.ended(container, exec, exit);
        }
        drop(learning);
        self.finish_init(container);
        result
    }
}

/// Why a first process that has ended is not started.
fn ended(container: &str, inner: &Inner) -> Error {
    match inner.init_exit.or(inner.init.exit()) {
        Some(exit) if !inner.init.ran => {
            Error::EndedEarly { container: container.to_owned(), status: exit.status }
        }
        _ => Error::Transition("cannot start a stopped process"),
    }
}

/// runc's ways to say that there is nothing to start, of one that was created and not started.
fn has_ended(message: &str) -> bool {
    ["container that has stopped", "already dead", "already running"]
        .iter()
        .any(|words| message.contains(words))
}

async fn run_exec(
    container: &Container,
    exec: &str,
    stdio: &Stdio,
    spec: &[u8],
) -> Result<(i32, Streams), Error> {
    const WHAT: &str = "OCI runtime exec failed";
    let pid_file = process_file(&container.bundle, exec, ".pid");
    let spec_file = process_file(&container.bundle, exec, ".process.json");
    fs_err::write(&spec_file, spec)?;
    let mut args: Vec<OsString> = vec!["exec".into(), "--detach".into()];
    args.extend(["--process".into(), spec_file.clone().into()]);
    args.extend(["--pid-file".into(), pid_file.clone().into()]);
    let owner = container.owner(exec);
    let result = if stdio.terminal {
        let socket = ConsoleSocket::bind(&container.bundle, exec)?;
        args.extend(["--console-socket".into(), socket.path().into(), container.id.clone().into()]);
        match container.runc.add(WHAT, &args, None).await {
            Ok(()) => attach_console(stdio, &owner, socket.receive().await?).await,
            Err(error) => Err(error),
        }
    } else {
        let (streams, ends) = prepare(stdio, &owner).await?;
        args.push(container.id.clone().into());
        streams.begin(Speaker::Process, container.runc.add(WHAT, &args, Some(ends))).await
    };
    // Both are of no use any more, and go with the bundle at the latest.
    let _ = std::fs::remove_file(&spec_file);
    let started = result.and_then(|streams| Ok((read_pid(&pid_file)?, streams)));
    let _ = std::fs::remove_file(&pid_file);
    started
}
