//! Watching over a sandbox's shim: when its connection ends, it is made again or the sandbox is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use berth_errors::chain;

use super::create::end_shim;
use super::{Controller, Running};
use crate::error::Result;
use crate::peers::{SandboxClient, deleted};
use crate::process::Exit;
use crate::shims::remove_socket;

/// The status of a sandbox of which nobody can say how it ended.
pub(super) const UNKNOWN: u32 = 255;
/// Between two connections to a shim that accepts and hangs up.
const PAUSE: Duration = Duration::from_millis(100);

impl Controller {
    /// Watches over a sandbox until it is gone or this process stops.
    pub(super) fn watch(&self, sandbox: &Arc<Running>) {
        let (this, sandbox) = (self.clone(), sandbox.clone());
        let stop = self.0.parts.jobs.token();
        self.0.parts.jobs.spawn("sandbox-watch", async move {
            tokio::select! {
                () = this.keep(&sandbox) => {}
                () = sandbox.gone.cancelled() => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn keep(&self, sandbox: &Arc<Running>) {
        while let Ok(client) = sandbox.client() {
            tokio::select! {
                // First: an answer that came before the end counts.
                biased;
                () = self.listen(sandbox, &client) => {}
                () = client.closed() => {}
            }
            if sandbox.leaving.load(Ordering::Acquire) && sandbox.life.started() {
                self.ended(sandbox, exit(0));
            }
            // Whoever ends it removes the rest.
            let _ending = sandbox.ending.lock().await;
            if sandbox.gone.is_cancelled() {
                return;
            }
            let Some(shim) = sandbox.bundle.bootstrap() else { break };
            let timeouts = &self.0.parts.launcher.timeouts();
            let connected = SandboxClient::connect(&shim, &sandbox.ns, &sandbox.id, timeouts).await;
            let Ok(client) = connected else { break };
            sandbox.client.set(Some(client));
            tokio::time::sleep(PAUSE).await;
        }
        tracing::info!(namespace = %sandbox.ns, id = sandbox.id, "shim of sandbox is gone, cleaning up");
        sandbox.client.set(None);
        let (this, sandbox) = (self.clone(), sandbox.clone());
        let cleaning = async move {
            let _ending = sandbox.ending.lock().await;
            if !sandbox.gone.is_cancelled() {
                this.bury(&sandbox).await;
            }
            Ok(())
        };
        // The process is stopping: the next run finds the folder and does it.
        let _ = self.to_the_end("sandbox-cleanup", cleaning).await;
    }

    /// Tells the end of a sandbox when its shim says so. Returns when the connection has ended.
    async fn listen(&self, sandbox: &Running, client: &SandboxClient) {
        sandbox.life.until_started().await;
        if sandbox.life.exit().is_none() {
            match client.wait().await {
                Ok(exit) => {
                    self.ended(sandbox, exit);
                }
                Err(error) => {
                    tracing::debug!(id = sandbox.id, error = chain(&error), "wait for sandbox");
                }
            }
        }
        client.closed().await;
    }

    /// Takes away a sandbox that its shim does not have, or that could not be started.
    pub(super) async fn discard(&self, sandbox: &Arc<Running>) {
        let _ending = sandbox.ending.lock().await;
        if sandbox.gone.is_cancelled() {
            return;
        }
        sandbox.leaving.store(true, Ordering::Release);
        if let Some(shim) = sandbox.bundle.bootstrap().or_else(|| sandbox.bundle.announced()) {
            end_shim(&shim, &sandbox.ns, &sandbox.id, &self.0.parts.launcher.timeouts()).await;
        }
        self.remove_logged(sandbox).await;
    }

    /// Cleans up after a shim that died. The caller holds what only one ends with.
    pub(super) async fn bury(&self, sandbox: &Arc<Running>) {
        let end = self.clean_up(sandbox).await.unwrap_or_else(|error| {
            tracing::warn!(id = sandbox.id, error = chain(&error), "clean up after dead shim");
            exit(UNKNOWN)
        });
        if sandbox.life.started() {
            self.ended(sandbox, end);
        }
        self.remove_logged(sandbox).await;
    }

    async fn clean_up(&self, sandbox: &Running) -> Result<Exit> {
        let launcher = &self.0.parts.launcher;
        let path = sandbox.bundle.path();
        let printed = launcher.delete(&sandbox.program, &sandbox.ns, &sandbox.id, path).await?;
        if let Some(shim) = sandbox.bundle.bootstrap() {
            remove_socket(&shim).await;
        }
        deleted(&printed)
    }

    async fn remove_logged(&self, sandbox: &Running) {
        if let Err(error) = self.remove(sandbox).await {
            tracing::error!(id = sandbox.id, error = chain(&error), "remove folder of sandbox");
        }
    }
}

/// An end that is noticed now.
pub(super) fn exit(status: u32) -> Exit {
    Exit { pid: 0, status, at: SystemTime::now() }
}
