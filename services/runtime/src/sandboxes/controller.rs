//! Sandboxes that run, each behind a shim which serves containerd's sandbox API.
//!
//! Owns: which of them there are, their folders under `state/runtime/.sandboxes/NAMESPACE/ID`, the
//! connections to their shims and their events. Must not know: the wire; tasks.
//!
//! Invariants:
//! - A sandbox is in the map from the moment its shim has made it until its folder is gone.
//! - What changes a sandbox runs to its end even if its caller goes away.
//! - The end of a sandbox is told once.

mod create;
mod life;
mod recover;
mod watch;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use berth_errors::{Code, Coded};
use berth_ids::Namespace;
use berth_lifecycle::Tasks as Jobs;
use tokio_util::sync::CancellationToken;

use super::{Measured, Platform, READY, Report, Sandboxes, Started};
use crate::bundle::Bundle;
use crate::check::There;
use crate::error::{Error, Result};
use crate::events::{Event, Events};
use crate::leftovers::Leftovers;
use crate::peers::{SandboxClient, Starter};
use crate::process::Exit;
use crate::register::{Link, Register};
use crate::shims::{Bootstrap, Launcher};
use crate::work::to_the_end;
use life::Life;
use watch::{UNKNOWN, exit};

/// The folder of the sandboxes' folders. No namespace has such a name.
pub(crate) const FOLDER: &str = ".sandboxes";
/// How long a shim that agreed to end may take.
const LEAVING: Duration = Duration::from_secs(5);

/// The sandboxes that run. Clones share them.
#[derive(Clone)]
pub struct Controller(Arc<Shared>);

/// What they are run with.
pub struct Parts {
    /// Their records.
    pub records: Sandboxes,
    /// Runs the shims' programs.
    pub launcher: Launcher,
    /// Starts shims.
    pub starter: Starter,
    /// Where events go.
    pub events: Events,
    /// The tasks of this process.
    pub jobs: Jobs,
    /// The folder of this service's state.
    pub folder: PathBuf,
    /// The OCI runtime that shims run unless told otherwise.
    pub binary: String,
}

struct Shared {
    parts: Parts,
    there: Register<Running>,
    left: Leftovers,
}

/// One sandbox.
struct Running {
    ns: Namespace,
    id: String,
    bundle: Bundle,
    program: PathBuf,
    client: Link<SandboxClient>,
    life: Life,
    /// Its shim was told to end.
    leaving: AtomicBool,
    /// Held by whoever starts it, until that is told or it is taken away.
    starting: tokio::sync::Mutex<()>,
    /// Held by whoever ends it, until it is gone.
    ending: tokio::sync::Mutex<()>,
    /// Cancelled when it is gone.
    gone: CancellationToken,
}

impl Running {
    fn client(&self) -> Result<SandboxClient> {
        self.client.get().ok_or_else(|| Error::SandboxNotFound(self.id.clone()))
    }

    /// The connection to its shim. While there is none its end is being found out, or it is being
    /// taken away: it is not there once that is done.
    async fn reached(&self) -> Result<SandboxClient> {
        let client = self.client();
        if client.is_err() {
            self.gone.cancelled().await;
        }
        client
    }
}

impl Controller {
    /// None yet: [`Controller::recover`] finds those of an earlier run.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared { parts, there: Register::default(), left: Leftovers::default() }))
    }

    /// The records of sandboxes, also of those that nobody runs.
    #[must_use]
    pub fn records(&self) -> &Sandboxes {
        &self.0.parts.records
    }

    /// Where a sandbox's shim answers.
    #[must_use]
    pub fn shim_of(&self, ns: &Namespace, id: &str) -> Option<Bootstrap> {
        self.0.there.get(ns, id)?.bundle.bootstrap()
    }

    /// The names of those of a namespace that run or are being made.
    #[must_use]
    pub fn names(&self, ns: &Namespace) -> BTreeSet<String> {
        self.0.there.names(ns)
    }

    /// All that are there, for a check.
    pub(crate) fn every(&self) -> Vec<There> {
        let there = |sandbox: Arc<Running>| There {
            ns: sandbox.ns.clone(),
            id: sandbox.id.clone(),
            folder: sandbox.bundle.path().to_owned(),
            connected: sandbox.client.get().is_some(),
        };
        self.0.there.every().into_iter().map(there).collect()
    }

    /// Whether any is being made.
    pub(crate) fn is_making(&self) -> bool {
        self.0.there.is_making()
    }

    /// Keeps a name from being given to a sandbox; nothing if it is.
    pub(crate) fn take_name(&self, ns: &Namespace, id: &str) -> Option<Box<dyn Send + '_>> {
        Some(Box::new(self.0.there.begin(ns, id)?))
    }

    /// Starts a sandbox that was made; one that cannot be started is taken away.
    ///
    /// # Errors
    /// [`Error::NoSandbox`], what the shim says.
    pub async fn start(&self, ns: &Namespace, id: &str) -> Result<(Started, Option<Bootstrap>)> {
        let found = self.settled(ns, id).await;
        let sandbox = found.map_err(|_| Error::NoSandbox(id.to_owned()))?;
        let this = self.clone();
        self.to_the_end("sandbox-start", async move {
            let _starting = sandbox.starting.lock().await;
            let client = sandbox.reached().await?;
            let started = match client.start().await {
                Ok(started) => started,
                Err(error) => {
                    this.not_started(&sandbox, &client).await;
                    let step = format!("failed to start sandbox {}", sandbox.id);
                    return Err(Error::within(step)(error));
                }
            };
            this.started(&sandbox);
            Ok((started, sandbox.bundle.bootstrap()))
        })
        .await
    }

    /// After a start that failed: a sandbox that runs goes on, any other is taken away. The caller
    /// holds what only one starts with.
    async fn not_started(&self, sandbox: &Arc<Running>, client: &SandboxClient) {
        if sandbox.life.started() {
            return;
        }
        match client.status(false).await {
            Ok(report) if report.state == READY => self.started(sandbox),
            _ => self.discard(sandbox).await,
        }
    }

    /// What a sandbox's containers run on.
    ///
    /// # Errors
    /// [`Error::SandboxNotFound`], what the shim says.
    pub async fn platform(&self, ns: &Namespace, id: &str) -> Result<Platform> {
        let asked = self.settled(ns, id).await?.reached().await?.platform().await;
        asked.map_err(Error::within("failed to get sandbox platform"))
    }

    /// Stops a sandbox. One that is not there, or has ended, is stopped.
    ///
    /// # Errors
    /// What the shim says.
    pub async fn stop(&self, ns: &Namespace, id: &str, seconds: u32) -> Result<()> {
        let Ok(sandbox) = self.settled(ns, id).await else { return Ok(()) };
        let Ok(client) = sandbox.reached().await else { return Ok(()) };
        let stopping = async move {
            match client.stop(seconds).await {
                Err(error) if error.is_closed() => Ok(()),
                Err(error) if matches!(error.code(), Code::NotFound | Code::Unavailable) => Ok(()),
                stopped => stopped.map_err(Error::within("failed to stop sandbox")),
            }
        };
        self.to_the_end("sandbox-stop", stopping).await
    }

    /// Waits for the end of a sandbox, also while its shim cannot be reached.
    ///
    /// # Errors
    /// [`Error::SandboxNotFound`], what the shim says.
    pub async fn wait(&self, ns: &Namespace, id: &str) -> Result<Exit> {
        let sandbox = self.settled(ns, id).await?;
        let asked = async {
            // Whoever watches over it tells the end of one that cannot be reached.
            let Ok(client) = sandbox.client() else { return std::future::pending().await };
            match client.wait().await {
                Err(error) if error.is_closed() => std::future::pending().await,
                answered => answered,
            }
        };
        let told = async {
            tokio::select! {
                exit = sandbox.life.exited() => Some(exit),
                () = sandbox.gone.cancelled() => sandbox.life.exit(),
            }
        };
        tokio::select! {
            exit = told => exit.ok_or_else(|| Error::SandboxNotFound(id.to_owned())),
            exit = asked => match exit {
                Ok(exit) => Ok(self.ended(&sandbox, exit)),
                Err(error) => Err(Error::within(format!("failed to wait sandbox {id}"))(error)),
            },
            // A wait has no end of its own, and should not hold up that of the service.
            () = self.0.parts.jobs.token().cancelled_owned() => Err(Error::Stopping("sandbox-wait")),
        }
    }

    /// How a sandbox is; of one that is not there, that it has ended.
    ///
    /// # Errors
    /// What the shim says.
    pub async fn status(
        &self,
        ns: &Namespace,
        id: &str,
        verbose: bool,
    ) -> Result<(Report, Option<Bootstrap>)> {
        let ended = |exit: Option<Exit>| {
            let at = exit.map_or_else(SystemTime::now, |exit| exit.at);
            (Report { id: id.to_owned(), exited: Some(at), ..Report::default() }, None)
        };
        let Ok(sandbox) = self.settled(ns, id).await else { return Ok(ended(None)) };
        let Ok(client) = sandbox.reached().await else { return Ok(ended(sandbox.life.exit())) };
        let report = client.status(verbose).await;
        let report =
            report.map_err(Error::within(format!("failed to query sandbox {id} status")))?;
        Ok((report, sandbox.bundle.bootstrap()))
    }

    /// What a sandbox uses.
    ///
    /// # Errors
    /// [`Error::SandboxNotFound`], what the shim says.
    pub async fn metrics(&self, ns: &Namespace, id: &str) -> Result<Option<Measured>> {
        self.settled(ns, id).await?.reached().await?.metrics().await
    }

    /// Ends a sandbox with its shim. Nothing of it is left.
    ///
    /// # Errors
    /// [`Error::SandboxNotFound`], what the shim says.
    pub async fn shutdown(&self, ns: &Namespace, id: &str) -> Result<()> {
        let (sandbox, this) = (self.settled(ns, id).await?, self.clone());
        self.to_the_end("sandbox-shutdown", async move { this.end(&sandbox).await }).await
    }

    async fn end(&self, sandbox: &Arc<Running>) -> Result<()> {
        let _ending = sandbox.ending.lock().await;
        if sandbox.gone.is_cancelled() {
            return Err(Error::SandboxNotFound(sandbox.id.clone()));
        }
        let Ok(client) = sandbox.client() else {
            // Its shim is gone, and who watches over it has yet to see to that.
            self.bury(sandbox).await;
            return Ok(());
        };
        sandbox.leaving.store(true, Ordering::Release);
        match client.shutdown().await {
            Err(error) if error.is_closed() => {}
            Err(error) => {
                sandbox.leaving.store(false, Ordering::Release);
                return Err(Error::within("failed to shutdown sandbox")(error));
            }
            Ok(()) => {}
        }
        // What it waits for comes at the latest with the end of the connection.
        let left = async {
            client.closed().await;
            if sandbox.life.started() {
                sandbox.life.exited().await;
            }
        };
        if tokio::time::timeout(LEAVING, left).await.is_err() {
            tracing::warn!(namespace = %sandbox.ns, id = sandbox.id, "shim of sandbox takes long to end");
        }
        let removed = self.remove(sandbox).await;
        removed.map_err(Error::within("failed to delete sandbox shim"))
    }

    /// Tells the start of a sandbox, if it was not told. Written down after it was told, as its end
    /// is.
    fn started(&self, sandbox: &Running) {
        let id = || sandbox.id.clone();
        sandbox.life.start(|exit| {
            self.tell(sandbox, Event::SandboxStarted { id: id() });
            if let Some(exit) = exit {
                self.tell(sandbox, Event::SandboxExited { id: id(), exit });
            }
        });
    }

    /// Tells the end of a sandbox, if it was not told; answers how it ended first.
    fn ended(&self, sandbox: &Running, exit: Exit) -> Exit {
        sandbox.life.end(exit, || {
            self.tell(sandbox, Event::SandboxExited { id: sandbox.id.clone(), exit });
        })
    }

    fn tell(&self, sandbox: &Running, event: Event) {
        self.0.parts.events.publish(&sandbox.ns, event);
    }

    /// Removes the folder of a sandbox and forgets it.
    async fn remove(&self, sandbox: &Running) -> Result<()> {
        if sandbox.life.started() {
            // Who was told of its start hears of its end, also if nobody knows how it ended.
            self.ended(sandbox, exit(UNKNOWN));
        }
        let Shared { there, left, .. } = &*self.0;
        let removed = left.remove(there, (&sandbox.ns, &sandbox.id), &sandbox.bundle).await;
        sandbox.client.set(None);
        self.0.there.remove(&sandbox.ns, &sandbox.id);
        sandbox.gone.cancel();
        removed
    }

    /// The sandbox, after its making if that is under way.
    async fn settled(&self, ns: &Namespace, id: &str) -> Result<Arc<Running>> {
        let found = self.0.there.settled(ns, id).await;
        found.ok_or_else(|| Error::SandboxNotFound(id.to_owned()))
    }

    async fn to_the_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        to_the_end(&self.0.parts.jobs, name, work).await
    }
}
