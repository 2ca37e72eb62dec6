//! One container and what is running in it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use super::process::{Phase, Process, View};
use super::restore::Restore;
use crate::Error;
use crate::cgroup::{Cgroup, Memory};
use crate::children::{Children, Exit};
use crate::io::Owner;
use crate::runc::Runc;
use crate::tasks::lock;

/// A container that runc has created, or is to restore.
pub(crate) struct Container {
    pub id: String,
    pub namespace: String,
    pub bundle: PathBuf,
    /// Empty when the root file system is not ours to mount.
    pub rootfs: Option<PathBuf>,
    pub runc: Runc,
    /// That of its first process, once there is one.
    pub cgroup: OnceLock<Cgroup>,
    /// Its memory, where that is controlled and watched.
    pub memory: OnceLock<Arc<Memory>>,
    /// The checkpoint that its start restores.
    pub restore: Option<Restore>,
    pub io_owner: (u32, u32),
    /// Its other processes do not end with the first of themselves.
    pub kill_all: bool,
    pub children: Arc<Children>,
    /// One change of the container as a whole at a time. A restore, which may take minutes, has let
    /// go of it: while it goes on `starting` is set in the first process.
    pub changing: tokio::sync::Mutex<()>,
    /// Held by changes, and by a dump, which goes on after others are let in again.
    pub dumping: tokio::sync::Mutex<()>,
    pub inner: Mutex<Inner>,
}

/// What changes.
pub(crate) struct Inner {
    pub init: Process,
    pub execs: HashMap<String, Process>,
    pub paused: bool,
    pub pausing: bool,
    /// The first process's exit, kept until the others' have been told.
    pub init_exit: Option<Exit>,
    /// The others are being killed.
    pub killing: bool,
}

/// What may be done to a container depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Running,
    Paused,
    Stopped,
}

/// Held while a container as a whole is changed.
pub(crate) struct Change<'a> {
    _changing: tokio::sync::MutexGuard<'a, ()>,
    dumping: tokio::sync::MutexGuard<'a, ()>,
}

impl<'a> Change<'a> {
    /// Lets others in, who are told that a dump is being written as long as this is held.
    pub(crate) fn into_dump(self) -> tokio::sync::MutexGuard<'a, ()> {
        self.dumping
    }
}

impl Inner {
    pub(crate) fn new(init: Process) -> Inner {
        Inner {
            init,
            execs: HashMap::new(),
            paused: false,
            pausing: false,
            init_exit: None,
            killing: false,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.init.phase {
            Phase::Stopped => State::Stopped,
            _ if self.init_exit.is_some() => State::Stopped,
            _ if self.paused => State::Paused,
            Phase::Created => State::Created,
            Phase::Running => State::Running,
        }
    }

    /// The first process for an empty identifier, else an exec.
    pub(crate) fn process(&mut self, exec: &str) -> Result<&mut Process, Error> {
        if exec.is_empty() {
            return Ok(&mut self.init);
        }
        self.execs.get_mut(exec).ok_or_else(|| Error::NoProcess(exec.to_owned()))
    }

    /// Whether a process other than the first runs or begins to.
    pub(crate) fn others(&self) -> bool {
        self.execs.values().any(|process| process.starting || process.alive())
    }
}

impl Container {
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// The right to change the container as a whole, once nobody else does.
    ///
    /// # Errors
    /// [`Error::Dumping`] while a checkpoint is being written, [`Error::Restoring`] while it is being
    /// restored.
    pub(crate) async fn change(&self) -> Result<Change<'_>, Error> {
        let changing = self.unless_restoring().await?;
        let dumping = self.dumping.try_lock().map_err(|_| Error::Dumping(self.id.clone()))?;
        Ok(Change { _changing: changing, dumping })
    }

    /// The right to change more than what a dump leaves alone.
    ///
    /// # Errors
    /// [`Error::Restoring`] while it is being restored.
    pub(super) async fn unless_restoring(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
        let changing = self.changing.lock().await;
        // Any other start holds what we have now.
        match self.inner().init.starting {
            true => Err(Error::Restoring(self.id.clone())),
            false => Ok(changing),
        }
    }

    pub(crate) fn running(&self) -> bool {
        let inner = self.inner();
        inner.init.alive() || inner.others()
    }

    pub(crate) fn view(&self, exec: &str) -> Result<View, Error> {
        let mut inner = self.inner();
        let (paused, pausing) = (inner.paused, inner.pausing);
        Ok(inner.process(exec)?.view(paused, pausing))
    }

    /// Waits for the end of a process.
    pub(crate) async fn wait(&self, exec: &str) -> Result<Exit, Error> {
        let mut waiter = self.inner().process(exec)?.waiter();
        let exit = waiter.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        exit.ok_or_else(|| Error::NoProcess(exec.to_owned()))
    }

    /// Whose streams those of a process are.
    pub(crate) fn owner<'a>(&'a self, id: &'a str) -> Owner<'a> {
        let (uid, gid) = self.io_owner;
        let children = self.children.clone();
        Owner { namespace: &self.namespace, id, uid, gid, children }
    }
}
