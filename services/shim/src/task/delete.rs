//! Delete: forget a process that has ended; with the first one the container goes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_proto::containerd::events::TaskDelete;

use super::process::Phase;
use super::{Container, Ended, Shim};
use crate::children::Exit;
use crate::clock::timestamp;
use crate::tasks::lock;
use crate::{Error, log};

/// How long output may still flow from what a process left behind.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a process that was killed.
const KILLED: Duration = Duration::from_secs(10);

impl Shim {
    /// Deletes a process that does not run.
    pub(crate) async fn delete(self: Arc<Self>, id: String, exec: String) -> Result<Ended, Error> {
        let container = self.settled(&id).await?;
        if exec.is_empty() {
            self.delete_init(&container).await
        } else {
            delete_exec(&container, &exec).await
        }
    }

    async fn delete_init(&self, container: &Arc<Container>) -> Result<Ended, Error> {
        let _changing = container.unless_restoring().await?;
        // Somebody else may have deleted it meanwhile.
        self.container(&container.id)?;
        let (phase, streams) = {
            let mut inner = container.inner();
            match inner.init.phase {
                Phase::Running if inner.paused => {
                    return Err(Error::Transition("cannot delete a paused process"));
                }
                Phase::Running => return Err(Error::Transition("cannot delete a running process")),
                Phase::Created | Phase::Stopped => {}
            }
            (inner.init.phase, inner.init.streams.take())
        };
        // A dump that its end cuts short is over soon.
        let _dumping = container.dumping.lock().await;
        let created = phase == Phase::Created;
        if let Some(streams) = streams.filter(|_| !created) {
            streams.drain(DRAIN, &container.id).await;
        }
        self.remove(container, created).await?;
        let exit = self.last_exit(container).await;
        let pid = container.inner().init.pid;
        let execs: Vec<_> = container.inner().execs.drain().collect();
        drop(execs);
        lock(&self.containers).remove(&container.id);
        self.publisher.publish(&TaskDelete {
            container_id: container.id.clone(),
            pid: pid.unsigned_abs(),
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)),
            id: String::new(),
        });
        Ok(Ended { pid, exit })
    }

    /// Lets runc delete it, and unmounts.
    async fn remove(&self, container: &Container, force: bool) -> Result<(), Error> {
        let mut args = vec!["delete"];
        if force {
            args.push("--force");
        }
        args.push(&container.id);
        match container.runc.run("failed to delete task", &args, &[]).await {
            // A checkpoint, or somebody else, has deleted it.
            Err(Error::Runtime { message, .. }) if message.contains("does not exist") => {}
            deleted => drop(deleted?),
        }
        match &container.rootfs {
            Some(rootfs) => Ok(berth_mount::unmount_beneath(rootfs)?),
            None => Ok(()),
        }
    }

    /// The exit of the first process, which has ended or has just been killed.
    async fn last_exit(&self, container: &Container) -> Exit {
        {
            let mut inner = container.inner();
            if inner.init.pid == 0 {
                // It was to be restored, and never ran.
                let exit = Exit { status: 0, at: SystemTime::now() };
                inner.init.finish(exit);
                return exit;
            }
        }
        match tokio::time::timeout(KILLED, container.wait("")).await {
            Ok(Ok(exit)) => exit,
            _ => {
                log::warn(format_args!("container {}: its end was not seen", container.id));
                Exit { status: 128 + 9, at: SystemTime::now() }
            }
        }
    }
}

async fn delete_exec(container: &Container, exec: &str) -> Result<Ended, Error> {
    let (pid, exit, streams) = {
        let mut inner = container.inner();
        let process = inner.process(exec)?;
        match process.phase {
            _ if process.starting => {
                return Err(Error::Transition("cannot delete a running process"));
            }
            Phase::Running => return Err(Error::Transition("cannot delete a running process")),
            Phase::Created | Phase::Stopped => {}
        }
        let exit = process.exit().unwrap_or(Exit { status: 0, at: SystemTime::UNIX_EPOCH });
        (process.pid, exit, process.streams.take())
    };
    if let Some(streams) = streams {
        streams.drain(DRAIN, exec).await;
    }
    container.inner().execs.remove(exec);
    Ok(Ended { pid, exit })
}
