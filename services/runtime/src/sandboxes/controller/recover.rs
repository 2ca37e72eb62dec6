//! Finding the sandboxes of an earlier run of this service.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use berth_errors::chain;
use berth_ids::Namespace;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{Controller, FOLDER, Life, Link, READY, Running};
use crate::bundle::Bundle;
use crate::error::Result;
use crate::peers::SandboxClient;
use crate::shims::read_log;

/// Shims that are connected to at once.
const CONNECTED: usize = 64;

impl Controller {
    /// Takes over the sandboxes whose folders are there. Their shims are connected to when this
    /// returns; what happened meanwhile is told in the background, and so is the end of those whose
    /// shims are gone.
    ///
    /// # Errors
    /// [`crate::Error::Bundle`] when the folders cannot be read.
    pub async fn recover(&self) -> Result<usize> {
        let found = Bundle::all(&self.0.parts.folder.join(FOLDER))?;
        let count = found.len();
        let take = |(ns, id)| self.take_over(ns, id);
        futures::stream::iter(found).map(take).buffer_unordered(CONNECTED).collect::<()>().await;
        Ok(count)
    }

    async fn take_over(&self, ns: Namespace, id: String) {
        let bundle = Bundle::at(&self.0.parts.folder.join(FOLDER), ns.as_str(), &id);
        let client = match bundle.bootstrap().or_else(|| bundle.announced()) {
            Some(shim) => {
                let timeouts = &self.0.parts.launcher.timeouts();
                SandboxClient::connect(&shim, &ns, &id, timeouts).await.ok()
            }
            None => None,
        };
        let gone = CancellationToken::new();
        if let Err(error) = read_log(&self.0.parts.jobs, &bundle.log(), &ns, &id, &gone) {
            tracing::warn!(namespace = %ns, id, error = chain(&error), "read log of sandbox's shim");
        }
        let sandbox = Arc::new(Running {
            life: Life::of(&bundle),
            program: bundle.program().unwrap_or_default(),
            ns: ns.clone(),
            id: id.clone(),
            bundle,
            client: Link::new(client.clone()),
            leaving: AtomicBool::new(false),
            starting: tokio::sync::Mutex::default(),
            ending: tokio::sync::Mutex::default(),
            gone,
        });
        self.0.there.insert(&ns, &id, sandbox.clone());
        if let Some(client) = client {
            let (this, sandbox, stop) = (self.clone(), sandbox.clone(), self.0.parts.jobs.token());
            self.0.parts.jobs.spawn("sandbox-catch-up", async move {
                tokio::select! {
                    () = this.check(&sandbox, &client) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        self.watch(&sandbox);
    }

    /// An earlier run may have been killed before the sandbox was made, or after it was shut down.
    async fn check(&self, sandbox: &Arc<Running>, client: &SandboxClient) {
        match client.status_at_last().await {
            Err(error) if error.is_not_found() => self.discard(sandbox).await,
            // When the connection ended, who watches over it sees that.
            Err(error) => {
                tracing::debug!(
                    id = sandbox.id,
                    error = chain(&error),
                    "ask shim about its sandbox"
                );
            }
            // It was started, and the run was killed before that was written down.
            Ok(report) if report.state == READY => self.started(sandbox),
            Ok(_) => {}
        }
    }
}
