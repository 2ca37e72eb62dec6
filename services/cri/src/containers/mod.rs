//! Containers of pods.
//!
//! Owns: which there are, how each began and ended, their records, streams and commands. Must not know: how a pod is
//! made, nor how an image is.
//!
//! | module | what it does |
//! |---|---|
//! | `create` | from a request to a record |
//! | `root` | its root file system |
//! | `images` | what it is given of images beside that |
//! | `labels` | its labels of SELinux |
//! | `start` | from a record to a process |
//! | `end` | stopping and removing |
//! | `exits` | a process has ended |
//! | `update` | other limits; a log that was moved |
//! | `command`, `exec` | a command within it; one that is waited for, with what it printed |
//! | `view` | how it is, as kubelets see it |
//! | `recover`, `earlier` | what an earlier run has left: containers, and commands in them |
//!
//! Invariants: a container's record is there before its status, which is there before it is shown; how it ended is
//! durable before it is told, and before its task is deleted, which has the only other word of it; its turns (start,
//! stop, remove) come one after another. Whoever saves one, which takes long, has no turn: it can be stopped meanwhile.

mod command;
mod create;
mod earlier;
mod end;
mod exec;
mod exits;
mod images;
mod labels;
mod recover;
mod root;
mod start;
mod update;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use berth_config::Cri;
use berth_cri_spec as spec;
use berth_lifecycle::{Held, Keyed, Tasks};
use berth_proto::runtime::v1::{ContainerConfig, ContainerState, PodSandboxConfig};
use berth_runtime_spec::{Process, Spec};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::apparmor::AppArmor;
use crate::bases::Bases;
use crate::events::{Events, Kind};
use crate::features::Features;
use crate::folders::Folders;
use crate::images::Images;
use crate::joins::Joins;
use crate::names::Names;
use crate::peers::Node;
use crate::pods::Pods;
use crate::records::metadata::OfContainer;
use crate::records::status::{Status, Statuses};
use crate::{Error, Result, ids};

use self::view::Shown;
pub use crate::peers::tasks::Exit;

pub(crate) use command::{Command, Wanted};

/// How long one that is being saved is waited for: saving takes as long as the disk, and criu may hang.
const SAVED: Duration = Duration::from_secs(60);

/// The containers. Clones are the same.
#[derive(Clone)]
pub struct Containers(Arc<Shared>);

/// What they are made of.
pub struct Parts {
    /// The other services.
    pub node: Node,
    /// What is configured.
    pub cri: Cri,
    /// What specifications begin with.
    pub bases: Bases,
    /// Where files are.
    pub folders: Folders,
    /// What goes on when a caller has left.
    pub jobs: Tasks,
    /// What they are made of.
    pub images: Images,
    /// Whose they are.
    pub pods: Pods,
    /// How they began and ended.
    pub statuses: Statuses,
    /// Where it is told what becomes of them.
    pub events: Events,
    /// What handlers can do.
    pub features: Features,
}

/// What a container is asked for with: its pod's number, its own configuration and the pod's.
type Asked = (String, ContainerConfig, PodSandboxConfig);

struct Shared {
    parts: Parts,
    machine: spec::Node,
    apparmor: AppArmor,
    there: Mutex<BTreeMap<String, Arc<Container>>>,
    names: Names,
    runs: Joins<Asked>,
    starts: Joins<()>,
    turns: Keyed<String>,
    /// Itself, for jobs that go on when a caller is done.
    this: Weak<Shared>,
    /// Held while one is saved, and by whoever must not come between. Whoever waits for both has this one first.
    saves: Keyed<String>,
}

/// A container that was made.
#[derive(Debug)]
pub struct Container {
    /// What is said of it.
    pub metadata: OfContainer,
    /// As the kubelet gave it.
    pub config: ContainerConfig,
    /// What its root file system was made by, whatever is configured now.
    pub snapshotter: String,
    now: watch::Sender<Standing>,
    shown: Mutex<Shown>,
    /// Held while it is written down how the container is: one change follows another.
    noting: tokio::sync::Mutex<()>,
    /// Held by the job that tries again to take in how it ended.
    ending: tokio::sync::Mutex<()>,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How it began and ended.
    pub status: Status,
    /// Its process; 0: it has none.
    pub pid: u32,
    /// Nobody can say how it is.
    pub unknown: bool,
    /// Its signal to stop was sent.
    pub asked_to_stop: bool,
    /// It is being removed.
    pub removing: bool,
}

impl Standing {
    /// In the CRI's words.
    #[must_use]
    pub fn state(&self) -> ContainerState {
        let Status { created_at, started_at, finished_at, .. } = self.status;
        match (created_at, started_at, finished_at) {
            _ if self.unknown => ContainerState::ContainerUnknown,
            (_, _, at) if at != 0 => ContainerState::ContainerExited,
            (_, at, _) if at != 0 => ContainerState::ContainerRunning,
            (at, _, _) if at != 0 => ContainerState::ContainerCreated,
            _ => ContainerState::ContainerUnknown,
        }
    }
}

impl Standing {
    /// Whether its process may be there.
    fn may_run(&self) -> bool {
        matches!(self.state(), ContainerState::ContainerRunning | ContainerState::ContainerUnknown)
    }
}

impl Containers {
    /// None yet: [`Containers::recover`] finds those that there are.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let machine = spec::Node::look();
        Self(Arc::new_cyclic(|this| Shared {
            parts,
            apparmor: AppArmor::of(&machine),
            machine,
            there: Mutex::default(),
            names: Names::default(),
            runs: Joins::default(),
            starts: Joins::default(),
            turns: Keyed::default(),
            this: this.clone(),
            saves: Keyed::default(),
        }))
    }

    /// The container of a number, or of the part that its number alone begins with.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`].
    pub fn find(&self, id: &str) -> Result<Arc<Container>> {
        self.0.find(id)
    }

    /// All of them, by number.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.0.there().values().cloned().collect()
    }

    /// Those of a pod.
    #[must_use]
    pub fn of_pod(&self, pod: &str) -> Vec<Arc<Container>> {
        let of_it = |container: &Arc<Container>| container.metadata.sandbox_id == pod;
        self.all().into_iter().filter(of_it).collect()
    }

    /// Makes a command of a container that runs, with its pipes.
    pub(crate) async fn command(
        &self,
        container: &Container,
        args: Vec<String>,
        wanted: Wanted,
    ) -> Result<(Command, command::Ends, Process)> {
        self.0.command(container, args, wanted).await
    }

    /// Where clients attach to a container's own process.
    #[must_use]
    pub fn attach_socket(&self, container: &Container) -> PathBuf {
        start::attach_socket(&self.0.parts.folders.streams(container.id()))
    }

    /// Keeps a container from being started, stopped, removed or changed meanwhile.
    pub(crate) async fn turn(&self, id: &str) -> Held<String> {
        self.0.turns.alone(id).await
    }

    /// Keeps a container from being removed, changed or saved by others while it is saved; a start under way is waited
    /// for.
    pub(crate) async fn to_save(&self, id: &str) -> Held<String> {
        let saving = self.0.saves.alone(id).await;
        drop(self.0.turns.alone(id).await);
        saving
    }

    async fn to_the_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.0.parts.jobs.spawn(name, work).await.map_err(|_| Error::NotReady)?
    }
}

impl Shared {
    fn there(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Container>>> {
        // Each change of the map is one call.
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Result<Arc<Container>> {
        let there = self.there();
        let found = ids::find(there.keys(), id)?;
        there.get(found).cloned().ok_or_else(|| Error::NotFound(format!("container {id:?}")))
    }

    /// Waits until a container is not being saved, and then for its turn.
    async fn turn(&self, id: &str) -> Result<[Held<String>; 2]> {
        let saved = |_| Error::Deadline(format!("container {id:?} is being saved to a checkpoint"));
        let saves = timeout(SAVED, self.saves.alone(id)).await.map_err(saved)?;
        Ok([self.turns.alone(id).await, saves])
    }

    fn tell(&self, container: &Container, kind: Kind) {
        self.parts.events.tell(container.id(), &container.metadata.sandbox_id, kind);
    }

    /// Writes down how a container is, and then shows it. Answers whether there was anything to change.
    async fn settle(
        &self,
        container: &Container,
        change: impl FnOnce(&mut Standing),
    ) -> Result<bool> {
        let _noting = container.noting.lock().await;
        let before = container.standing();
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(false);
        }
        self.parts.statuses.put(container.id(), after.status.clone()).await?;
        container.show(after);
        Ok(true)
    }
}

impl Container {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.metadata.id
    }

    fn new(
        metadata: OfContainer,
        config: ContainerConfig,
        snapshotter: String,
        standing: Standing,
        spec: &Spec,
    ) -> Self {
        let now = watch::Sender::new(standing);
        let shown = Mutex::new(Shown::of(spec));
        let (noting, ending) = <_>::default();
        Self { metadata, config, snapshotter, now, shown, noting, ending }
    }

    /// How it is now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.now.borrow().clone()
    }

    /// Shows what was written down, beside what else became of it meanwhile.
    fn show(&self, Standing { status, pid, unknown, .. }: Standing) {
        self.now.send_modify(|now| *now = Standing { status, pid, unknown, ..now.clone() });
    }

    fn may_run(&self) -> bool {
        self.now.borrow().may_run()
    }

    /// Whether its process runs.
    ///
    /// # Errors
    /// [`Error::Refused`] if not.
    pub fn runs(&self) -> Result<()> {
        match self.standing().state() {
            ContainerState::ContainerRunning => Ok(()),
            state => Err(Error::Refused(format!("container is in {} state", state.as_str_name()))),
        }
    }

    /// Waits until it has ended, if it runs.
    async fn ended(&self) {
        let mut now = self.now.subscribe();
        let ended = now.wait_for(|standing| !standing.may_run());
        // The sender is ours: it lives as long as this call does.
        let _ = ended.await;
    }
}
