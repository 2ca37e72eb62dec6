//! Containers and their processes. One file per thing that is done to them.

mod checkpoint;
mod container;
mod control;
mod create;
mod delete;
mod exec;
mod exits;
mod process;
mod restore;
mod start;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use berth_proto::containerd::events::TaskOom;
use tokio::sync::watch;

pub(crate) use checkpoint::Checkpoint;
pub(crate) use container::Container;
pub(crate) use create::Creation;
pub(crate) use exec::ExecAddition;

use crate::cgroup::{Cgroup, Memory};
use crate::children::{Children, Exit};
use crate::publisher::Publisher;
use crate::tasks::{Tasks, lock};
use crate::{Error, cgroup, log};

/// All that this process holds.
pub(crate) struct Shim {
    pub(crate) namespace: String,
    pub(crate) children: Arc<Children>,
    pub(crate) publisher: Publisher,
    pub(crate) tasks: Tasks,
    containers: Mutex<HashMap<String, Slot>>,
    stop: watch::Sender<bool>,
}

enum Slot {
    /// Being created: the name is taken. Ends with the creation.
    Reserved(watch::Sender<()>),
    Held(Arc<Container>),
}

/// How a deleted process had ended.
pub(crate) struct Ended {
    pub pid: i32,
    pub exit: Exit,
}

impl Shim {
    pub(crate) fn new(
        namespace: &str,
        children: Arc<Children>,
        publisher: Publisher,
        stop: watch::Sender<bool>,
    ) -> Shim {
        Shim {
            namespace: namespace.to_owned(),
            children,
            publisher,
            tasks: Tasks::default(),
            containers: Mutex::default(),
            stop,
        }
    }

    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, Error> {
        match lock(&self.containers).get(id) {
            Some(Slot::Held(container)) => Ok(container.clone()),
            Some(Slot::Reserved(_)) | None => Err(Error::NoContainer(id.to_owned())),
        }
    }

    /// The container, after its creation if that is under way: a caller that was killed and is
    /// back asks what became of it.
    pub(crate) async fn settled(&self, id: &str) -> Result<Arc<Container>, Error> {
        loop {
            let mut creation = match lock(&self.containers).get(id) {
                Some(Slot::Reserved(creation)) => creation.subscribe(),
                Some(Slot::Held(container)) => return Ok(container.clone()),
                None => return Err(Error::NoContainer(id.to_owned())),
            };
            // Nothing is ever sent: an error is the end.
            let _ = creation.changed().await;
        }
    }

    fn held(&self) -> Vec<Arc<Container>> {
        let containers = lock(&self.containers);
        let held = containers.values().filter_map(|slot| match slot {
            Slot::Held(container) => Some(container.clone()),
            Slot::Reserved(_) => None,
        });
        held.collect()
    }

    /// Whether any process of any container still runs.
    pub(crate) fn busy(&self) -> bool {
        self.held().iter().any(|container| container.running())
    }

    /// Ends the shim if it holds nothing; returns whether it ends.
    pub(crate) fn shutdown(&self) -> bool {
        let empty = lock(&self.containers).is_empty();
        if empty {
            self.stop();
        }
        empty
    }

    /// Ends the shim whatever it holds.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Returns when the shim has been told to end.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // An error means that the sender is gone, and we hold it.
        let _ = stop.wait_for(|stop| *stop).await.map(drop);
    }

    /// Finds the control group of a container's first process, and watches over its memory. One
    /// without a process, or of which that is gone, has none.
    fn watch_cgroup(self: &Arc<Self>, container: &Container, pid: i32) {
        let Ok(cgroup) = Cgroup::of_process(pid) else { return };
        // Neither is set before: a container has one first process.
        if let Some(memory) = self.watch_memory(&container.id, &cgroup) {
            let _ = container.memory.set(memory);
        }
        let _ = container.cgroup.set(cgroup);
    }

    /// Tells of each time that memory runs out, until the container is gone.
    fn watch_memory(self: &Arc<Self>, id: &str, cgroup: &Cgroup) -> Option<Arc<Memory>> {
        let memory = match cgroup::watch(cgroup) {
            Ok(memory) => Arc::new(memory?),
            Err(error) => {
                log::warn(format_args!(
                    "container {id}: {error}; running out of memory is not told"
                ));
                return None;
            }
        };
        // The shim ends its tasks before itself.
        let (shim, id, watched) = (Arc::downgrade(self), id.to_owned(), memory.clone());
        self.tasks.spawn(async move {
            let tell = || {
                if let Some(shim) = shim.upgrade() {
                    shim.tell_oom(&id);
                }
            };
            if let Err(error) = watched.watch(tell).await {
                log::warn(format_args!("container {id}: watch memory: {error}"));
            }
        });
        Some(memory)
    }

    fn tell_oom(&self, id: &str) {
        self.publisher.publish(&TaskOom { container_id: id.to_owned() });
    }
}

/// A file of a bundle that belongs to one process.
fn process_file(bundle: &std::path::Path, process: &str, suffix: &str) -> PathBuf {
    bundle.join(format!("{process}{suffix}"))
}
