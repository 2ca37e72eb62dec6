//! What containers this node holds, and what their tasks do: what is shown to others of this node.
//!
//! Owns: which records are asked for, and what is told of one. Must not know: who asks. Nothing here is
//! written, and no shim that is stuck holds up the rest.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use berth_ids::{Labels, Namespace};
use futures::StreamExt;
use tokio::time::Instant;

use crate::containers::Containers;
use crate::error::{Error, Result};
use crate::records::Container;
use crate::tasks::{Doing, Tasks};

/// Shims that are asked at once, of tasks of which not enough is known.
const ASKED: usize = 64;
/// How long all shims together may take to say what the tasks of one question do.
const PATIENCE: Duration = Duration::from_secs(3);

/// Names of containers.
#[derive(Clone, Debug)]
pub enum Asked {
    /// All of them, of all namespaces.
    All,
    /// Those of a namespace.
    Namespace(Namespace),
    /// These. What is not there is left out.
    These(Vec<(Namespace, String)>),
}

/// A container, as it is recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its namespace.
    pub ns: Namespace,
    /// Its name.
    pub id: String,
    /// The name of its image; may be empty.
    pub image: String,
    /// The name of its runtime.
    pub runtime: String,
    /// Its labels.
    pub labels: Labels,
    /// When it was made.
    pub created: SystemTime,
}

/// Looks at the containers of this node.
#[derive(Clone)]
pub struct Holdings {
    containers: Containers,
    tasks: Tasks,
}

impl Holdings {
    /// Of these containers, with these tasks.
    #[must_use]
    pub fn new(containers: Containers, tasks: Tasks) -> Self {
        Self { containers, tasks }
    }

    /// The containers that are asked for, by namespace and id, as they are recorded.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn recorded(&self, asked: Asked) -> Result<VecDeque<Recorded>> {
        let containers = self.containers.clone();
        let read = move || read(&containers, asked);
        let done = berth_lifecycle::blocking("container-holdings", read).await;
        done.map_err(|source| Error::Child { step: "read containers", source })?
    }

    /// What the tasks of containers do now, in their order; nothing for those that have none.
    pub async fn doing(&self, containers: Vec<Recorded>) -> Vec<(Recorded, Option<Doing>)> {
        let until = Instant::now() + PATIENCE;
        let look = |container: Recorded| async move {
            let doing = self.tasks.doing(&container.ns, &container.id, until).await;
            (container, doing)
        };
        futures::stream::iter(containers).map(look).buffered(ASKED).collect().await
    }
}

fn read(containers: &Containers, asked: Asked) -> Result<VecDeque<Recorded>> {
    let mut found = VecDeque::new();
    match asked {
        Asked::All => containers.every(|ns, container| {
            // It was checked when it was recorded.
            found.extend(ns.parse().ok().map(|ns| recorded(ns, container)));
        })?,
        Asked::Namespace(ns) => containers.list(&ns, &[], |container| {
            found.push_back(recorded(ns.clone(), container));
            true
        })?,
        Asked::These(keys) => {
            for (ns, id) in keys {
                match containers.get(&ns, &id) {
                    Ok(container) => found.push_back(recorded(ns, container)),
                    Err(Error::ContainerNotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(found)
}

fn recorded(ns: Namespace, container: Container) -> Recorded {
    let Container { id, image, runtime, labels, created, .. } = container;
    Recorded { ns, id, image, runtime: runtime.name, labels, created }
}
