//! Saving what runs in a task, to a folder or to the content store, and making a task of that.

use std::path::Path;
use std::sync::atomic::Ordering;

use berth_ids::Namespace;

use super::{Task, Tasks};
use crate::checkpoints::Blob;
use crate::error::Result;
use crate::peers::encoded;
use crate::records::Any;

/// How a task is saved.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    /// The folder that the caller names; empty: to the content store.
    pub path: String,
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
            let Dump { path, options, lease } = dump;
            if !path.is_empty() {
                return task.client()?.checkpoint(&path, options.as_ref()).await.map(|()| None);
            }
            let checkpoints = &tasks.0.parts.checkpoints;
            let lease = checkpoints.lease(&task.ns, lease).await?;
            let folder = checkpoints.dump().await?;
            let dumped = tasks.save(&task, &folder, options.as_ref(), &lease, &spec).await;
            checkpoints.done(folder).await;
            dumped.map(Some)
        };
        self.to_the_end("task-checkpoint", work).await
    }

    async fn save(
        &self,
        task: &Task,
        folder: &Path,
        options: Option<&Any>,
        lease: &str,
        spec: &Any,
    ) -> Result<Dumped> {
        task.client()?.checkpoint(&folder.to_string_lossy(), options).await?;
        let blobs = self.0.parts.checkpoints.blobs();
        let image = blobs.pack(&task.ns, lease, folder).await?;
        let config = blobs.write(&task.ns, lease, encoded(spec)).await?;
        Ok(Dumped { image, config })
    }

    /// Removes what a task was restored from.
    pub(super) async fn restored(&self, task: &Task) {
        if task.restores.swap(false, Ordering::AcqRel) {
            self.0.parts.checkpoints.forget(&task.ns, &task.id).await;
        }
    }
}
