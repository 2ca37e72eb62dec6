//! Finding the tasks of an earlier run of this service.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use berth_ids::Namespace;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::bundle::Bundle;
use super::{Task, Tasks};
use crate::error::{Error, Result};
use crate::peers::ShimClient;

/// Shims that are connected to at once.
const CONNECTED: usize = 64;

impl Tasks {
    /// Takes over the tasks whose folders are there. Their shims are connected to when this
    /// returns; what happened meanwhile is told in the background, and so is the end of tasks
    /// whose shims are gone.
    ///
    /// # Errors
    /// [`Error::Bundle`] when the folders cannot be read.
    pub async fn recover(&self) -> Result<usize> {
        let found = self.folders()?;
        let count = found.len();
        let take = |(ns, id)| self.take_over(ns, id);
        futures::stream::iter(found).map(take).buffer_unordered(CONNECTED).collect::<()>().await;
        Ok(count)
    }

    async fn take_over(&self, ns: Namespace, id: String) {
        let bundle = Bundle::at(&self.0.parts.folder, ns.as_str(), &id);
        let gone = CancellationToken::new();
        let client = match bundle.bootstrap().or_else(|| bundle.announced()) {
            Some(bootstrap) => ShimClient::connect(&bootstrap, &ns, &id).await.ok(),
            None => None,
        };
        if let Err(error) = self.read_log(&bundle, &ns, &id, &gone) {
            tracing::warn!(namespace = %ns, id, error = berth_errors::chain(&error), "read shim's log");
        }
        let program = bundle.program().or_else(|| {
            let container = self.0.parts.containers.get(&ns, &id).ok()?;
            self.0.parts.launcher.resolve(&container.runtime.name).ok()
        });
        let task = Arc::new(Task {
            life: self.life(&ns, &id, &bundle),
            ns: ns.clone(),
            id: id.clone(),
            bundle,
            program: program.unwrap_or_default(),
            client: Mutex::new(client.clone()),
            leaving: AtomicBool::new(false),
            deleting: tokio::sync::Mutex::default(),
            gone,
        });
        self.map().tasks.insert((ns, id), task.clone());
        if let Some(client) = client {
            let (tasks, task, stop) = (self.clone(), task.clone(), self.0.parts.jobs.token());
            self.0.parts.jobs.spawn("shim-catch-up", async move {
                tokio::select! {
                    () = tasks.catch_up(&task, &client) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        self.watch(&task);
    }

    fn folders(&self) -> Result<Vec<(Namespace, String)>> {
        let folder = self.0.parts.folder.clone();
        let failed = |source| Error::Bundle { step: "list tasks in", path: folder.clone(), source };
        let mut found = Vec::new();
        for space in names(&folder).map_err(failed)? {
            // `.runc` is no namespace.
            let Ok(ns) = space.parse::<Namespace>() else { continue };
            let (half, ids): (Vec<_>, Vec<_>) = names(&folder.join(&space))
                .map_err(failed)?
                .into_iter()
                .partition(|id| id.starts_with('.'));
            half.iter().for_each(|id| remove_rest(&folder.join(&space).join(id)));
            found.extend(ids.into_iter().map(|id| (ns.clone(), id)));
        }
        Ok(found)
    }
}

/// Goes on with a removal that was cut off. What is hidden has no mounts any more.
fn remove_rest(hidden: &Path) {
    if let Err(error) = std::fs::remove_dir_all(hidden) {
        let error = berth_errors::chain(&error);
        tracing::warn!(folder = %hidden.display(), error, "remove rest of a task's folder");
    }
}

/// The folders in `folder`.
fn names(folder: &PathBuf) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.file_type()?.is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}
