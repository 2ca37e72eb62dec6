//! What a container's task does, as was told of it. Its shim is asked where that is not enough, and only
//! for so long: one that is stuck holds up nobody.

use std::time::Duration;

use berth_ids::Namespace;
use tokio::time::{Instant, timeout_at};

use super::life::Doing;
use super::{Task, Tasks};
use crate::process::{Exit, State, Status};

/// How long a shim may take to say.
const PATIENCE: Duration = Duration::from_secs(1);

impl Tasks {
    /// What a container's task does; nothing if there is none. No shim is waited for beyond `until`: the
    /// status is unknown then.
    pub async fn doing(&self, ns: &Namespace, id: &str, until: Instant) -> Option<Doing> {
        let life = self.lives().all.get(&(ns.clone(), id.to_owned())).cloned()?;
        let task = self.0.there.get(ns, id);
        match life.doing() {
            // Taken over from an earlier run, and not all of it is known yet.
            Some(Doing { status: Status::Unknown, pid, .. }) => {
                Some(ask(task.as_deref()?, pid, until).await)
            }
            None if task.is_some() && !life.began() => Some(ask(task.as_deref()?, 0, until).await),
            known => known,
        }
    }

    /// Takes in that a task's shim says that it froze or thawed it.
    pub fn note_paused(&self, ns: &Namespace, id: &str, paused: bool) {
        if let Some(task) = self.0.there.get(ns, id) {
            task.life.paused(paused);
        }
    }
}

async fn ask(task: &Task, pid: u32, until: Instant) -> Doing {
    let unknown = Doing { status: Status::Unknown, pid, exit: None };
    let Ok(client) = task.client() else { return unknown };
    let until = until.min(Instant::now() + PATIENCE);
    let Ok(Ok(state)) = timeout_at(until, client.state("")).await else { return unknown };
    let State { pid, status, exit_status, exited, .. } = state;
    let exit = exited.filter(|_| status == Status::Stopped);
    Doing { status, pid, exit: exit.map(|at| Exit { pid, status: exit_status, at }) }
}
