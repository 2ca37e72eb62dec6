//! Finding the tasks of an earlier run of this service.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use berth_ids::Namespace;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{Link, Task, Tasks};
use crate::bundle::Bundle;
use crate::error::Result;
use crate::peers::ShimClient;
use crate::shims::read_log;

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
        let found = Bundle::all(&self.0.parts.folder)?;
        let count = found.len();
        self.0.parts.checkpoints.clear(&found).await;
        let take = |(ns, id)| self.take_over(ns, id);
        futures::stream::iter(found).map(take).buffer_unordered(CONNECTED).collect::<()>().await;
        Ok(count)
    }

    async fn take_over(&self, ns: Namespace, id: String) {
        let bundle = Bundle::at(&self.0.parts.folder, ns.as_str(), &id);
        let gone = CancellationToken::new();
        let client = match bundle.bootstrap().or_else(|| bundle.announced()) {
            Some(bootstrap) => {
                let timeouts = &self.0.parts.launcher.timeouts();
                let client = ShimClient::connect(&bootstrap, &ns, &id, timeouts).await.ok();
                client.map(|client| client.in_bundle(bundle.path()))
            }
            None => None,
        };
        if let Err(error) = read_log(&self.0.parts.jobs, &bundle.log(), &ns, &id, &gone) {
            tracing::warn!(namespace = %ns, id, error = berth_errors::chain(&error), "read shim's log");
        }
        let program = bundle.program().or_else(|| {
            let container = self.0.parts.containers.get(&ns, &id).ok()?;
            self.0.parts.launcher.resolve(&container.runtime.name).ok()
        });
        let restores = AtomicBool::new(self.0.parts.checkpoints.holds(&ns, &id));
        let task = Arc::new(Task {
            life: self.life(&ns, &id, &bundle),
            ns: ns.clone(),
            id: id.clone(),
            bundle,
            program: program.unwrap_or_default(),
            client: Link::new(client.clone()),
            leaving: AtomicBool::new(false),
            restores,
            deleting: tokio::sync::Mutex::default(),
            gone,
        });
        self.0.there.insert(&ns, &id, task.clone());
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
}
