//! What is done to a running container: signals, pause, resources, terminal, measuring.

use std::sync::Arc;

use berth_proto::containerd::events::{TaskPaused, TaskResumed};
use prost_types::Any;

use super::container::State;
use super::process::Phase;
use super::{Container, Shim};
use crate::cgroup::Cgroup;
use crate::{Error, log};

impl Shim {
    /// Sends a signal to a process, or to all of a container.
    pub(crate) async fn kill(
        self: Arc<Self>,
        id: String,
        exec: String,
        signal: u32,
        all: bool,
    ) -> Result<(), Error> {
        let container = self.settled(&id).await?;
        let (pid, by_runc) = {
            let mut inner = container.inner();
            let by_runc = exec.is_empty() && (all || inner.paused);
            let gone = exec.is_empty() && inner.init_exit.is_some();
            let process = inner.process(&exec)?;
            if process.pid == 0 && process.phase == Phase::Created {
                return Err(Error::State("process not created"));
            }
            if gone || !process.alive() {
                return Err(Error::Finished);
            }
            (process.pid, by_runc)
        };
        if !by_runc {
            return send(pid, signal);
        }
        let kills = signal == libc::SIGKILL.unsigned_abs();
        let signal = signal.to_string();
        let mut args = vec!["kill"];
        if all {
            args.push("--all");
        }
        args.extend([container.id.as_str(), signal.as_str()]);
        container.runc.run("OCI runtime kill failed", &args, &[]).await.map_err(gone)?;
        // runc signals those in the container's group, where the first need not be.
        if kills {
            container.end_first();
        }
        Ok(())
    }

    pub(crate) async fn pause(self: Arc<Self>, id: String) -> Result<(), Error> {
        let container = self.container(&id)?;
        let _change = container.change().await?;
        {
            let mut inner = container.inner();
            let refused = |why| Err(Error::Transition(why));
            match inner.state() {
                State::Running => inner.pausing = true,
                State::Created => return refused("cannot pause task in created state"),
                State::Paused => return refused("cannot pause a paused container"),
                State::Stopped => return refused("cannot pause a stopped container"),
            }
        }
        let what = "OCI runtime pause failed";
        let paused = container.runc.run(what, &["pause", &container.id], &[]).await;
        // One that failed, or was killed, may have frozen it by then, and does not take that back.
        let thawed = match (&paused, container.cgroup.get()) {
            (Err(_), Some(cgroup)) => cgroup.thaw(),
            _ => Ok(()),
        };
        let mut inner = container.inner();
        inner.pausing = false;
        let runs = inner.init.phase == Phase::Running;
        if let (Err(error), Err(frozen)) = (&paused, thawed) {
            log::warn(format_args!("container {id}: {error}: it may stand still: {frozen}"));
            // So that it can be resumed.
            inner.paused = runs;
        }
        paused?;
        inner.paused = runs;
        self.publisher.publish(&TaskPaused { container_id: id });
        Ok(())
    }

    pub(crate) async fn resume(self: Arc<Self>, id: String) -> Result<(), Error> {
        let container = self.container(&id)?;
        let _change = container.change().await?;
        let refused = |why| Err(Error::Transition(why));
        match container.inner().state() {
            State::Paused => {}
            State::Created => return refused("cannot resume task in created state"),
            State::Running => return refused("cannot resume a running process"),
            State::Stopped => return refused("cannot resume a stopped container"),
        }
        let what = "OCI runtime resume failed";
        container.runc.run(what, &["resume", &container.id], &[]).await?;
        container.inner().paused = false;
        self.publisher.publish(&TaskResumed { container_id: id });
        Ok(())
    }

    /// Changes the resources of a container, given as the OCI spec has them.
    pub(crate) async fn update(self: Arc<Self>, id: String, resources: Any) -> Result<(), Error> {
        let container = self.container(&id)?;
        let _change = container.change().await?;
        if container.inner().state() == State::Stopped {
            return Err(Error::Transition("cannot update a stopped container"));
        }
        let args = ["update", "--resources", "-", &container.id];
        container.runc.run("OCI runtime update failed", &args, &resources.value).await.map(drop)
    }

    pub(crate) fn resize(
        &self,
        id: &str,
        exec: &str,
        width: u32,
        height: u32,
    ) -> Result<(), Error> {
        let container = self.container(id)?;
        let mut inner = container.inner();
        let process = inner.process(exec)?;
        if !exec.is_empty() && process.phase == Phase::Stopped {
            return Err(Error::Transition("cannot resize a stopped container"));
        }
        let streams = process.streams.as_ref();
        let Some(console) = streams.and_then(|streams| streams.console()) else { return Ok(()) };
        let cells = |count: u32| u16::try_from(count).map_err(Error::invalid("terminal size"));
        console.resize(cells(width)?, cells(height)?).map_err(Error::io("resize terminal"))
    }

    pub(crate) fn close_stdin(&self, id: &str, exec: &str) -> Result<(), Error> {
        let container = self.container(id)?;
        if let Some(streams) = &mut container.inner().process(exec)?.streams {
            streams.close_stdin();
        }
        Ok(())
    }

    /// What the container uses, or has used: its cgroup is there until runc deletes it.
    pub(crate) fn metrics(&self, id: &str) -> Result<Any, Error> {
        let container = self.container(id)?;
        container.cgroup.get().map(Cgroup::metrics).ok_or(Error::Finished)
    }

    /// The processes in the container, each with the exec that it is.
    pub(crate) fn pids(&self, id: &str) -> Result<Vec<(u32, Option<String>)>, Error> {
        let container = self.container(id)?;
        let Some(cgroup) = container.cgroup.get().filter(|_| container.running()) else {
            return Ok(Vec::new());
        };
        let pids = cgroup.pids()?;
        let inner = container.inner();
        let exec_of = |pid: u32| {
            let mut execs = inner.execs.values();
            let exec = execs.find(|exec| exec.alive() && exec.pid.unsigned_abs() == pid);
            exec.map(|exec| exec.id.clone())
        };
        Ok(pids.into_iter().map(|pid| (pid, exec_of(pid))).collect())
    }
}

impl Container {
    /// Ends the first process, if it has not ended.
    pub(super) fn end_first(&self) {
        let inner = self.inner();
        if inner.init.alive() && inner.init_exit.is_none() {
            // It may have ended, and not been reaped.
            let _ = send(inner.init.pid, libc::SIGKILL.unsigned_abs());
        }
    }
}

/// Sends a signal to a child that has not been reaped, so that the number is still its own.
fn send(pid: i32, signal: u32) -> Result<(), Error> {
    let signal = i32::try_from(signal).map_err(Error::invalid("signal"))?;
    // SAFETY: no memory is involved.
    if unsafe { libc::kill(pid, signal) } == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ESRCH) => Err(Error::Finished),
        Some(libc::EINVAL) => Err(Error::invalid(format!("signal {signal}"))(error)),
        _ => Err(Error::io(format!("kill {pid}"))(error)),
    }
}

/// runc's ways to say that there is nothing to signal.
fn gone(error: Error) -> Error {
    match &error {
        Error::Runtime { message, .. }
            if ["already finished", "not running", "no such process", "does not exist"]
                .iter()
                .any(|words| message.to_lowercase().contains(words)) =>
        {
            Error::Finished
        }
        _ => error,
    }
}
