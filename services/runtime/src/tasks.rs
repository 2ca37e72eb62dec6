//! Tasks: containers that run, each behind a shim.
//!
//! Owns: which tasks there are, their folders under `state/runtime/NAMESPACE/ID`, the connections
//! to their shims and the order of their events. Must not know: the wire; runc.
//!
//! Invariants:
//! - A task is in the map from the moment its shim has made it until its folder is gone.
//! - A verb that changes a task runs to its end even if its caller goes away.
//! - Of each process every step is told once, in order: created, started, exited, deleted
//!   ([`life::Life`]).

mod checkpoint;
mod create;
mod join;
mod life;
mod list;
mod recover;
mod rootfs;
mod verbs;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_ids::Namespace;
use tokio::sync::watch::Sender;
use tokio_util::sync::CancellationToken;

use crate::bundle::Bundle;
use crate::checkpoints::Checkpoints;
use crate::containers::Containers;
use crate::error::{Error, Result};
use crate::events::Events;
use crate::gate::Neighbours;
use crate::peers::{ShimClient, Starter};
use crate::sandboxes::Controller;
use crate::shims::Launcher;
use life::Life;

pub use checkpoint::{Dump, Dumped};
pub use create::Create;
pub use life::Step;
pub use list::Listed;

/// How many ended tasks are remembered, so that what their shims still have to say is not told
/// again.
const REMEMBERED: usize = 4096;

type Key = (Namespace, String);

/// The tasks of the node. Clones share them.
#[derive(Clone)]
pub struct Tasks(Arc<Shared>);

/// What tasks are made with.
pub struct Parts {
    /// What they are made of.
    pub containers: Containers,
    /// Runs the shims' programs.
    pub launcher: Launcher,
    /// Starts shims.
    pub starter: Starter,
    /// Whose shims the containers of sandboxes join.
    pub controller: Controller,
    /// Where events go.
    pub events: Events,
    /// Whom it asks for mounts that are not a shim's to make.
    pub neighbours: Arc<dyn Neighbours>,
    /// What tasks are saved to and restored from.
    pub checkpoints: Checkpoints,
    /// The tasks of this process.
    pub jobs: berth_lifecycle::Tasks,
    /// The folder of the tasks' folders.
    pub folder: PathBuf,
    /// The OCI runtime that shims run unless told otherwise.
    pub binary: String,
}

struct Shared {
    parts: Parts,
    map: Mutex<Map>,
}

#[derive(Default)]
struct Map {
    tasks: HashMap<Key, Arc<Task>>,
    /// Tasks that are being made. Each ends with the making.
    making: HashMap<Key, Sender<()>>,
    lives: HashMap<Key, Arc<Life>>,
    /// The latest of the tasks that ended, with their first processes.
    ended: VecDeque<(Key, u32)>,
}

/// One task.
struct Task {
    ns: Namespace,
    id: String,
    bundle: Bundle,
    program: PathBuf,
    client: Mutex<Option<ShimClient>>,
    life: Arc<Life>,
    /// Set by a delete that the shim has agreed to: the end of its connection is no accident.
    leaving: AtomicBool,
    /// What it is restored from lies here until it has started.
    restores: AtomicBool,
    /// Held by whoever deletes it, until it is gone.
    deleting: tokio::sync::Mutex<()>,
    /// Cancelled when the task is gone.
    gone: CancellationToken,
}

impl Task {
    fn client(&self) -> Result<ShimClient> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        client.ok_or_else(|| Error::ShimGone(self.id.clone()))
    }

    fn set_client(&self, client: Option<ShimClient>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
}

impl Tasks {
    /// No tasks yet: [`Tasks::recover`] finds those of an earlier run.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared { parts, map: Mutex::default() }))
    }

    /// Takes in a step that a shim tells of. What was told already is dropped; what is missing
    /// before it is told first. False when no task of ours is meant.
    pub fn note(&self, at: std::time::SystemTime, ns: &Namespace, id: &str, step: Step) -> bool {
        let key = (ns.clone(), id.to_owned());
        let deleted = matches!(step, Step::Deleted { .. });
        let (life, task, ended) = {
            let map = self.map();
            let ended = || map.ended.iter().filter(|(ended, _)| *ended == key);
            if let Some(pid) = step.pid()
                && ended().any(|(_, first)| *first == pid)
            {
                return true;
            }
            (map.lives.get(&key).cloned(), map.tasks.get(&key).cloned(), ended().next().is_some())
        };
        // What a shim has to say too late of an added process was told with the task's end.
        let Some(life) = life else { return ended && step.is_of_exec() };
        life.note(at, step);
        if let Some(task) = task.filter(|_| deleted) {
            self.finish_deletion(task);
        }
        true
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        // Its maps are changed by single calls: a panic cannot leave them half changed.
        self.0.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, ns: &Namespace, id: &str) -> Result<Arc<Task>> {
        self.0.parts.containers.get(ns, id)?;
        self.find_task(ns, id).ok_or_else(|| Error::TaskNotFound(id.to_owned()))
    }

    /// The task, after its making if that is under way: whoever was cut off from a creation may be
    /// about to undo it.
    async fn settled(&self, ns: &Namespace, id: &str) -> Result<Arc<Task>> {
        let key = (ns.clone(), id.to_owned());
        let making = self.map().making.get(&key).map(Sender::subscribe);
        if let Some(mut making) = making {
            // Nothing is ever sent: an error is the end.
            let _ = making.changed().await;
        }
        self.find(ns, id)
    }

    fn find_task(&self, ns: &Namespace, id: &str) -> Option<Arc<Task>> {
        self.map().tasks.get(&(ns.clone(), id.to_owned())).cloned()
    }

    /// Takes a task whose folder is gone off the map.
    fn forget(&self, task: &Task) {
        let key = (task.ns.clone(), task.id.clone());
        let mut map = self.map();
        map.tasks.remove(&key);
        map.lives.remove(&key);
        map.ended.push_back((key, task.life.first_pid()));
        if map.ended.len() > REMEMBERED {
            map.ended.pop_front();
        }
        drop(map);
        task.gone.cancel();
    }

    /// Runs a verb to its end, whatever becomes of its caller.
    async fn to_the_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        crate::work::to_the_end(&self.0.parts.jobs, name, work).await
    }
}
