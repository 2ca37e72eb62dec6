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
mod doing;
mod features;
mod join;
mod life;
mod list;
mod recover;
mod rootfs;
mod survey;
mod verbs;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_ids::Namespace;
use tokio_util::sync::CancellationToken;

use crate::bundle::Bundle;
use crate::checkpoints::Checkpoints;
use crate::containers::Containers;
use crate::error::{Error, Result};
use crate::events::Events;
use crate::gate::Neighbours;
use crate::leftovers::Leftovers;
use crate::networks::Networks;
use crate::peers::{ShimClient, Starter};
use crate::register::{Key, Link, Register};
use crate::sandboxes::{Controller, Sandboxers};
use crate::shims::Launcher;
use life::Life;

pub use checkpoint::{Dump, Dumped};
pub use create::Create;
pub use life::{Doing, Step};
pub use list::Listed;
pub use survey::Surveyed;

/// How many ended tasks are remembered, so that what their shims still have to say is not told
/// again.
const REMEMBERED: usize = 4096;

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
    /// All who run sandboxes.
    pub sandboxers: Sandboxers,
    /// What containers are attached to.
    pub networks: Networks,
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
    there: Register<Task>,
    left: Leftovers,
    lives: Mutex<Lives>,
}

/// What is told of tasks.
#[derive(Default)]
struct Lives {
    /// Of those that are there or are being made.
    all: HashMap<Key, Arc<Life>>,
    /// The latest of the tasks that ended, with their first processes.
    ended: VecDeque<(Key, u32)>,
}

/// One task.
struct Task {
    ns: Namespace,
    id: String,
    bundle: Bundle,
    program: PathBuf,
    client: Link<ShimClient>,
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
        self.client.get().ok_or_else(|| Error::ShimGone(self.id.clone()))
    }
}

impl Tasks {
    /// No tasks yet: [`Tasks::recover`] finds those of an earlier run.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            parts,
            there: Register::default(),
            left: Leftovers::default(),
            lives: Mutex::default(),
        }))
    }

    /// Takes in a step that a shim tells of. What was told already is dropped; what is missing
    /// before it is told first. False when no task of ours is meant.
    pub fn note(&self, at: std::time::SystemTime, ns: &Namespace, id: &str, step: Step) -> bool {
        let key = (ns.clone(), id.to_owned());
        let deleted = matches!(step, Step::Deleted { .. });
        let (life, ended) = {
            let lives = self.lives();
            let ended = || lives.ended.iter().filter(|(ended, _)| *ended == key);
            if let Some(pid) = step.pid()
                && ended().any(|(_, first)| *first == pid)
            {
                return true;
            }
            (lives.all.get(&key).cloned(), ended().next().is_some())
        };
        // What a shim has to say too late of an added process was told with the task's end.
        let Some(life) = life else { return ended && step.is_of_exec() };
        life.note(at, step);
        if let Some(task) = self.0.there.get(ns, id).filter(|_| deleted) {
            self.finish_deletion(task);
        }
        true
    }

    fn lives(&self) -> MutexGuard<'_, Lives> {
        // It is changed by single calls: a panic cannot leave it half changed.
        self.0.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, ns: &Namespace, id: &str) -> Result<Arc<Task>> {
        self.0.parts.containers.get(ns, id)?;
        self.0.there.get(ns, id).ok_or_else(|| Error::TaskNotFound(id.to_owned()))
    }

    /// The task, after its making if that is under way.
    async fn settled(&self, ns: &Namespace, id: &str) -> Result<Arc<Task>> {
        self.0.there.settled(ns, id).await;
        self.find(ns, id)
    }

    /// Takes a task whose folder is gone off the map.
    fn forget(&self, task: &Task) {
        let key = (task.ns.clone(), task.id.clone());
        let mut lives = self.lives();
        lives.all.remove(&key);
        lives.ended.push_back((key, task.life.first_pid()));
        if lives.ended.len() > REMEMBERED {
            lives.ended.pop_front();
        }
        drop(lives);
        self.0.there.remove(&task.ns, &task.id);
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
