//! What is done to tasks that are there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use berth_ids::{Namespace, validate_identifier};

use super::life::Step;
use super::{Shared, Task, Tasks, rootfs};
use crate::error::{Error, Result};
use crate::process::{Exit, Io, Pid};
use crate::records::Any;

impl Tasks {
    /// Starts a task's first process, or an added one; answers its number.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn start(&self, ns: &Namespace, id: &str, exec: &str) -> Result<u32> {
        let (task, exec, tasks) = (self.find(ns, id)?, exec.to_owned(), self.clone());
        let work = async move {
            let kind = if exec.is_empty() { "start" } else { "exec" };
            let pid = berth_recent::operation(kind, task.ns.as_str(), &task.id, task.start(&exec));
            let pid = pid.await?;
            if exec.is_empty() {
                tasks.restored(&task).await;
            }
            Ok(pid)
        };
        self.to_the_end("task-start", work).await
    }

    /// Deletes a task that has ended, with its shim and its folder.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn delete(&self, ns: &Namespace, id: &str) -> Result<Exit> {
        let (task, tasks) = (self.settled(ns, id).await?, self.clone());
        let work = async move {
            let deleted = tasks.delete_task(task.clone());
            berth_recent::operation("delete", task.ns.as_str(), &task.id, deleted).await
        };
        self.to_the_end("task-delete", work).await
    }

    pub(super) async fn delete_task(&self, task: Arc<Task>) -> Result<Exit> {
        let _deleting = task.deleting.lock().await;
        // The shim died before or under the call, or had deleted it: who watches it cleans up.
        let Ok(client) = task.client() else { return buried(&task).await };
        let exit = match client.delete("").await {
            Ok(exit) => exit,
            Err(error) if error.is_closed() => return buried(&task).await,
            // An earlier run of this service had it deleted, and was killed before it did the rest.
            Err(error) if error.is_not_found() => {
                self.abandon(&task, &client).await;
                return task.life.exit_of("").ok_or(error);
            }
            Err(Error::Shim { source, .. }) => {
                return Err(Error::Shim { step: "failed to delete task: ", source });
            }
            Err(other) => return Err(other),
        };
        task.leaving.store(true, Ordering::Release);
        task.life.note(SystemTime::now(), Step::Deleted { exit });
        if let Err(error) = client.shutdown().await {
            let error = berth_errors::chain(&error);
            tracing::warn!(id = task.id, error, "end shim of deleted task");
        }
        berth_recent::stage("folder", "").of(self.remove(&task)).await?;
        Ok(exit)
    }

    /// Removes what is left of a task that was deleted.
    pub(super) async fn remove(&self, task: &Task) -> Result<()> {
        let activated = rootfs::noted(&task.bundle);
        let Shared { there, left, .. } = &*self.0;
        let removed = left.remove(there, (&task.ns, &task.id), &task.bundle).await;
        task.client.set(None);
        if activated {
            self.deactivate(&task.ns, &task.id).await;
        }
        self.restored(task).await;
        self.forget(task);
        removed
    }

    /// Deletes an added process that has ended.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn delete_process(&self, ns: &Namespace, id: &str, exec: &str) -> Result<Exit> {
        if exec.is_empty() {
            return Err(Error::Invalid("exec id cannot be empty".into()));
        }
        let (task, exec) = (self.find(ns, id)?, exec.to_owned());
        let work = async move {
            let exit = task.client()?.delete(&exec).await?;
            if exit.pid != 0 {
                task.life.note(exit.at, Step::Exited { exec: exec.clone(), exit });
            }
            task.life.note(exit.at, Step::Dropped { exec });
            Ok(exit)
        };
        self.to_the_end("exec-delete", work).await
    }

    /// Signals a process, or all of a task.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn kill(
        &self,
        ns: &Namespace,
        id: &str,
        exec: &str,
        signal: u32,
        all: bool,
    ) -> Result<()> {
        self.settled(ns, id).await?.client()?.kill(exec, signal, all).await
    }

    /// Adds a process to a task.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], [`Error::Name`], what the shim says.
    pub async fn exec(
        &self,
        ns: &Namespace,
        id: &str,
        exec: &str,
        io: Io,
        spec: Option<Any>,
    ) -> Result<()> {
        if exec.is_empty() {
            return Err(Error::Invalid("exec id cannot be empty".into()));
        }
        validate_identifier(exec)
            .map_err(|source| Error::Name { what: "invalid exec id", source })?;
        let (task, exec) = (self.find(ns, id)?, exec.to_owned());
        let work = async move {
            task.client()?.exec(&exec, &io, spec.as_ref()).await?;
            task.life.added(&exec);
            Ok(())
        };
        self.to_the_end("exec-add", work).await
    }

    /// The processes in a task.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn pids(&self, ns: &Namespace, id: &str) -> Result<Vec<Pid>> {
        self.find(ns, id)?.client()?.pids().await
    }

    /// Freezes a task.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn pause(&self, ns: &Namespace, id: &str) -> Result<()> {
        let task = self.find(ns, id)?;
        task.client()?.pause().await?;
        task.life.paused(true);
        Ok(())
    }

    /// Thaws a task.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn resume(&self, ns: &Namespace, id: &str) -> Result<()> {
        let task = self.find(ns, id)?;
        task.client()?.resume().await?;
        task.life.paused(false);
        Ok(())
    }

    /// Resizes a process's terminal.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn resize(
        &self,
        ns: &Namespace,
        id: &str,
        exec: &str,
        size: (u32, u32),
    ) -> Result<()> {
        self.find(ns, id)?.client()?.resize(exec, size.0, size.1).await
    }

    /// Closes a process's standard input.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn close_stdin(&self, ns: &Namespace, id: &str, exec: &str) -> Result<()> {
        self.find(ns, id)?.client()?.close_stdin(exec).await
    }

    /// Changes a task's limits.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn update(
        &self,
        ns: &Namespace,
        id: &str,
        resources: Option<Any>,
        annotations: HashMap<String, String>,
    ) -> Result<()> {
        self.find(ns, id)?.client()?.update(resources.as_ref(), annotations).await
    }
}

impl Task {
    /// Has the shim start a process, and tells that it did.
    async fn start(&self, exec: &str) -> Result<u32> {
        let (client, first) = (self.client()?, exec.is_empty());
        if first {
            self.life.starting();
        }
        let started = match first && self.life.restores() {
            true => client.restore().await,
            false => client.start(exec).await,
        };
        if let Ok(pid) = started {
            // Not left to the shim's own event, which may come after what the caller does next.
            self.life.note(SystemTime::now(), Step::Started { exec: exec.to_owned(), pid });
        }
        if first {
            self.life.answered(started.as_ref().is_err_and(Error::is_refusal));
        }
        started
    }
}

/// How a task ended whose shim is gone, once it is cleaned up.
async fn buried(task: &Task) -> Result<Exit> {
    task.gone.cancelled().await;
    task.life.exit_of("").ok_or_else(|| Error::TaskNotFound(task.id.clone()))
}
