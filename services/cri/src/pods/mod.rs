//! Pods.
//!
//! Owns: which pods there are and how they are; their own process, files, network. Must not know: what containers
//! of a pod do.
//!
//! | module | what it does |
//! |---|---|
//! | `run` | making one |
//! | `making` | its steps |
//! | `program` | what its own process runs |
//! | `network` | what is asked of the networks for it |
//! | `files` | what its containers see of it |
//! | `end` | stopping and removing it |
//! | `exits` | its process has ended |
//! | `view`, `details` | how it is, as kubelets see it, and to who wants details |
//! | `recover` | what an earlier run has left |
//!
//! Invariants: a pod's record is there before anything of it is, and goes when nothing of it is left; a pod that
//! could not be undone stays, to be stopped and removed again.

mod details;
mod end;
mod exits;
mod files;
mod making;
mod network;
mod program;
mod recover;
mod run;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_config::Cri;
use berth_lifecycle::{Keyed, Tasks};
use berth_proto::runtime::v1::PodSandboxConfig;
use tokio::sync::watch;

use crate::events::Events;
use crate::folders::Folders;
use crate::images::Images;
use crate::joins::Joins;
use crate::names::Names;
use crate::peers::Node;
use crate::selinux::Selinux;
use crate::{Error, Result, ids};

/// The pods. Clones are the same.
#[derive(Clone)]
pub struct Pods(Arc<Shared>);

/// What they are made of.
pub struct Parts {
    /// The other services.
    pub node: Node,
    /// What is configured.
    pub cri: Cri,
    /// Where files are.
    pub folders: Folders,
    /// What their own processes may be made of.
    pub images: Images,
    /// What goes on when a caller has left.
    pub jobs: Tasks,
    /// Where it is told what becomes of them.
    pub events: Events,
    /// Their labels.
    pub selinux: Selinux,
}

struct Shared {
    parts: Parts,
    spec: making::SpecParts,
    there: Mutex<BTreeMap<String, Arc<Pod>>>,
    names: Names,
    runs: Joins<(PodSandboxConfig, String)>,
    turns: Keyed<String>,
}

/// A pod that was made.
#[derive(Debug)]
pub struct Pod {
    /// Its number.
    pub id: String,
    /// Its name, as no other has it.
    pub name: String,
    /// As the kubelet gave it.
    pub config: PodSandboxConfig,
    /// The handler, as the kubelet named it.
    pub handler: String,
    /// The name of its own process's image; empty: it has none.
    pub image: String,
    /// The SELinux label of its processes; empty: it has none.
    pub process_label: String,
    /// Where its network namespace is; empty: it is in the node's.
    pub netns: String,
    /// Its addresses, the first one first.
    pub ips: Vec<String>,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
    now: watch::Sender<Standing>,
}

/// How a pod is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its process; 0: it has none.
    pub pid: u32,
    /// Whether its own process runs.
    pub ready: bool,
    /// Nobody could say how it is, since this service began.
    pub unknown: bool,
    /// It is being stopped: no container is made in it, or started.
    pub stopping: bool,
    /// It was stopped, and has nothing of the node any more: no process, network or mount.
    pub stopped: bool,
}

impl Pods {
    /// None yet: [`Pods::recover`] finds those that there are.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            spec: making::SpecParts::of(&parts),
            parts,
            there: Mutex::default(),
            names: Names::default(),
            runs: Joins::default(),
            turns: Keyed::default(),
        }))
    }

    /// The pod of a number, or of the part that its number alone begins with.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`].
    pub fn find(&self, id: &str) -> Result<Arc<Pod>> {
        let there = self.0.there();
        let found = ids::find(there.keys(), id)?;
        there.get(found).cloned().ok_or_else(|| Error::NotFound(format!("pod {id:?}")))
    }

    /// The pod that has a name, if it was made.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Arc<Pod>> {
        let id = self.0.names.holder(name)?;
        self.0.there().get(&id).cloned()
    }

    /// Labels of SELinux for pods.
    #[must_use]
    pub fn selinux(&self) -> &Selinux {
        &self.0.parts.selinux
    }

    /// All of them, by number.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.0.there().values().cloned().collect()
    }
}

impl Shared {
    fn there(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Pod>>> {
        // Each change of the map is one call.
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pod {
    /// How it is now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        *self.now.borrow()
    }

    /// Whether containers can be run in it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.expect_usable().is_ok()
    }

    /// Refuses what containers of one that is not usable were to do.
    ///
    /// # Errors
    /// [`Error::Refused`] with its state.
    pub fn expect_usable(&self) -> Result<()> {
        let state = match self.standing() {
            Standing { ready: true, stopping: false, .. } => return Ok(()),
            Standing { ready: true, .. } => "being stopped",
            Standing { ready: false, .. } => "not ready",
        };
        let id = &self.id;
        Err(Error::Refused(format!("sandbox container {id:?} is not running: its pod is {state}")))
    }

    /// Whether it shares the node's network.
    #[must_use]
    pub fn is_on_host(&self) -> bool {
        berth_cri_spec::host_network(&self.config)
    }
}
