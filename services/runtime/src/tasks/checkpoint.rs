//! Saving what runs in a task, to a folder or to the content store, and making a task of that.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use berth_ids::Namespace;

use super::{Task, Tasks};
use crate::checkpoints::Blob;
use crate::error::{Error, Result};
use crate::peers::encoded;
use crate::records::Any;

/// How a task is saved.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    /// The folder that the caller names; empty: to the content store.
    pub path: String,
    /// Whether the task ends with it.
    pub exit: bool,
    /// For the shim, as the caller gives them.
    pub options: Option<Any>,
    /// Whose blobs they will be.
    pub lease: Option<String>,
}

/// What was saved to the content store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// The tar of what the runtime wrote.
    pub image: Blob,
    /// The container's specification.
    pub config: Blob,
}

impl Tasks {
    /// Saves a task. Answers its blobs, unless it is saved to a folder.
    ///
    /// # Errors
    /// [`crate::Error::TaskNotFound`], what the shim and the other services say.
    pub async fn checkpoint(&self, ns: &Namespace, id: &str, dump: Dump) -> Result<Option<Dumped>> {
        let (tasks, task) = (self.clone(), self.find(ns, id)?);
        let spec = self.0.parts.containers.get(ns, id)?.spec.unwrap_or_default();
        let work = async move {
            let Dump { path, exit, options, lease } = dump;
            if !path.is_empty() {
                return task.client()?.checkpoint(&path, options.as_ref()).await.map(|()| None);
            }
            let checkpoints = &tasks.0.parts.checkpoints;
            let lease = checkpoints.lease(&task.ns, lease).await?;
            let (client, folder) = (task.client()?, checkpoints.dump(exit).await?);
            if let Err(error) = client.checkpoint(&folder.to_string_lossy(), options.as_ref()).await
            {
                return Err(tasks.undumped(folder, exit, error).await);
            }
            match tasks.store(&task.ns, &folder, &lease, &spec).await {
                // Nothing else is left of the task.
                Err(error) if exit => Err(kept(&folder)(error)),
                stored => {
                    checkpoints.done(folder).await;
                    stored.map(Some)
                }
            }
        };
        self.to_the_end("task-checkpoint", work).await
    }

    /// What is told of a dump that failed. What may have been written, and the task have ended with, is
    /// not thrown away.
    async fn undumped(&self, folder: PathBuf, exit: bool, error: Error) -> Error {
        if exit && !error.is_refusal() {
            return kept(&folder)(error);
        }
        self.0.parts.checkpoints.done(folder).await;
        error
    }

    async fn store(&self, ns: &Namespace, dump: &Path, lease: &str, spec: &Any) -> Result<Dumped> {
        let blobs = self.0.parts.checkpoints.blobs();
        let image = blobs.pack(ns, lease, dump).await?;
        let config = blobs.write(ns, lease, encoded(spec)).await?;
        Ok(Dumped { image, config })
    }

    /// Removes what a task was restored from.
    pub(super) async fn restored(&self, task: &Task) {
        if task.restores.swap(false, Ordering::AcqRel) {
            self.0.parts.checkpoints.forget(&task.ns, &task.id).await;
        }
    }
}

/// For `map_err`: says where the dump is of a task that ended with it.
fn kept(folder: &Path) -> impl FnOnce(Error) -> Error {
    let at = folder.display();
    let step = format!("the task may have ended, what was written of it is kept in {at}");
    Error::within(step)
}
