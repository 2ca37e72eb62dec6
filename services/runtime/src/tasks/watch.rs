//! Watching over a task's shim: when its connection ends, it is made again or the task is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::life::Step;
use super::{Task, Tasks};
use crate::error::Result;
use crate::peers::{ShimClient, deleted};
use crate::process::{Exit, State, Status};
use crate::shims::remove_socket;

/// The status of a process that was killed with its shim.
const KILLED: u32 = 137;
/// The status of a process of which nobody can say how it ended.
const UNKNOWN: u32 = 255;
/// Between two connections to a shim that accepts and hangs up.
const PAUSE: Duration = Duration::from_millis(100);

impl Tasks {
    /// Watches over a task until it is gone or this process stops.
    pub(super) fn watch(&self, task: &Arc<Task>) {
        let (tasks, task) = (self.clone(), task.clone());
        let stop = self.0.parts.jobs.token();
        self.0.parts.jobs.spawn_apart("shim-watch", async move {
            tokio::select! {
                // First: one that was deleted already is not cleaned up after.
                biased;
                () = task.gone.cancelled() => {}
                () = tasks.keep(&task) => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn keep(&self, task: &Arc<Task>) {
        while let Ok(client) = task.client() {
            client.closed().await;
            if task.leaving.load(Ordering::Acquire) {
                // Who deletes it removes the rest.
                return;
            }
            if !self.reconnect(task).await {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::info!(namespace = %task.ns, id = task.id, "shim is gone, cleaning up after it");
        task.client.set(None);
        // Killing the process that waits for runc half way would leave its container behind.
        let (tasks, task) = (self.clone(), task.clone());
        let cleaning = async move {
            tasks.bury(&task).await;
            Ok(())
        };
        // The process is stopping: the next run finds the folder and does it.
        let _ = self.to_the_end("shim-cleanup", cleaning).await;
    }

    /// Connects to the shim again; false when nobody listens.
    async fn reconnect(&self, task: &Arc<Task>) -> bool {
        let bootstrap = task.bundle.bootstrap().or_else(|| task.bundle.announced());
        let Some(bootstrap) = bootstrap else { return false };
        let client =
            ShimClient::connect(&bootstrap, &task.ns, &task.id, &self.0.parts.launcher.timeouts())
                .await;
        let Ok(client) = client else { return false };
        let client = client.in_bundle(task.bundle.path());
        task.client.set(Some(client.clone()));
        self.catch_up(task, &client).await;
        true
    }

    /// Tells what a shim's processes did while nobody was connected. Waits for a shim that is
    /// stuck as long as the connection lasts.
    pub(super) async fn catch_up(&self, task: &Arc<Task>, client: &ShimClient) {
        match client.state_at_last("").await {
            Ok(state) => {
                for (exec, _) in task.life.live_execs() {
                    if let Ok(state) = client.state_at_last(&exec).await {
                        tell(task, &exec, &state);
                    }
                }
                tell(task, "", &state);
            }
            Err(error) if error.is_not_found() => self.finish_deletion(task.clone()),
            // The connection ended: who watches it sees that.
            Err(error) => {
                let error = berth_errors::chain(&error);
                tracing::debug!(id = task.id, error, "ask shim what happened");
            }
        }
    }

    /// Takes away what is left of a task that its shim does not have, unless somebody is at it: an
    /// earlier run of this service was killed before the task was made, or had it deleted and was
    /// killed before it did the rest. The shim is asked, whoever tells of it.
    pub(super) fn finish_deletion(&self, task: Arc<Task>) {
        let tasks = self.clone();
        self.0.parts.jobs.spawn("task-left", async move {
            let _deleting = task.deleting.lock().await;
            if let Ok(client) = task.client()
                && client.state_at_last("").await.is_err_and(|error| error.is_not_found())
            {
                tasks.abandon(&task, &client).await;
            }
        });
    }

    /// Ends a shim that has no task. The caller holds what only one deletes with.
    pub(super) async fn abandon(&self, task: &Arc<Task>, client: &ShimClient) {
        task.leaving.store(true, Ordering::Release);
        if task.life.began() {
            let exit = task.life.exit_of("").unwrap_or_else(|| lost(task));
            task.life.note(exit.at, Step::Deleted { exit });
        }
        if let Err(error) = client.shutdown().await {
            let error = berth_errors::chain(&error);
            tracing::warn!(id = task.id, error, "end shim without a task");
        }
        if let Err(error) = self.remove(task).await {
            let error = berth_errors::chain(&error);
            tracing::error!(id = task.id, error, "remove folder of a shim without a task");
        }
    }

    /// Cleans up after a shim that died, tells the ends of its processes, removes the task.
    pub(super) async fn bury(&self, task: &Arc<Task>) {
        let exit = self.clean_up(task).await.unwrap_or_else(|error| {
            let error = berth_errors::chain(&error);
            tracing::warn!(id = task.id, error, "clean up after dead shim");
            lost(task)
        });
        if task.life.began() {
            let now = SystemTime::now();
            // One without a number never ran: nobody is to hear that it ended.
            let ran = task.life.live_execs().into_iter().filter(|(_, pid)| *pid != 0);
            for (exec, pid) in ran {
                let exit = Exit { pid, status: KILLED, at: exit.at };
                task.life.note(now, Step::Exited { exec, exit });
            }
            // The end of its first process is told with its deletion, if it ever had one.
            let exit = task.life.exit_of("").unwrap_or(exit);
            task.life.note(now, Step::Deleted { exit });
        }
        if let Err(error) = self.remove(task).await {
            let error = berth_errors::chain(&error);
            tracing::error!(id = task.id, error, "remove folder of dead task");
        }
    }

    async fn clean_up(&self, task: &Arc<Task>) -> Result<Exit> {
        let launcher = &self.0.parts.launcher;
        let path = task.bundle.path();
        let printed = launcher.delete(&task.program, &task.ns, &task.id, path).await?;
        // The socket of a shim that it joined is that of the sandbox.
        if !task.bundle.joined()
            && let Some(bootstrap) = task.bundle.bootstrap()
        {
            remove_socket(&bootstrap).await;
        }
        let mut exit = deleted(&printed)?;
        let pid = task.life.first_pid();
        if pid != 0 {
            exit.pid = pid;
        } else if i32::try_from(exit.pid).is_err() {
            // Go shims say -1 where they find no number.
            exit.pid = 0;
        }
        Ok(exit)
    }
}

/// The end of a task of which its shim left nothing to be learnt.
fn lost(task: &Task) -> Exit {
    Exit { pid: task.life.first_pid(), status: UNKNOWN, at: SystemTime::now() }
}

/// Tells what a state says of the steps before it.
fn tell(task: &Task, exec: &str, state: &State) {
    let (now, pid, first) = (SystemTime::now(), state.pid, exec.is_empty());
    let exec = exec.to_owned();
    let step = match state.status {
        Status::Created if first => Step::Created { pid },
        Status::Created | Status::Unknown => return,
        Status::Running | Status::Paused | Status::Pausing => Step::Started { exec, pid },
        Status::Stopped => {
            let at = state.exited.unwrap_or(now);
            Step::Exited { exec, exit: Exit { pid, status: state.exit_status, at } }
        }
    };
    // Before it is told: whoever asks then is to hear of it.
    if first {
        task.life.paused(matches!(state.status, Status::Paused | Status::Pausing));
    }
    task.life.note(now, step);
}
