//! Sandboxes that are run by processes of others: controllers behind a socket.
//!
//! Owns: what is told of such sandboxes, and the one wait for the end of each. Must not know: the
//! wire; the [`Sandboxer`] that is asked does.
//!
//! Nothing is kept of them but their records: the controller knows which there are, also after it or
//! this service was started anew.
//!
//! Invariants:
//! - A call ends by its deadline; only a wait has none, and lasts over restarts of the controller.
//! - The end of a sandbox is told once in a run of this service, however many wait for it. One that
//!   has ended and was not shut down may be told of again by the next run.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_errors::{Code, Coded, chain};
use berth_ids::{Namespace, validate_identifier};
use berth_lifecycle::Tasks as Jobs;
use tokio::sync::watch;

use super::{
    Endpoint, Measured, Platform, Report, Sandboxer, Sandboxes, Setup, Started, sandboxer::Work,
};
use crate::error::{Error, Result};
use crate::events::{Event, Events};
use crate::process::Exit;
use crate::records::Sandbox;
use crate::work::to_the_end;

/// Between two waits at a controller that is away, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(128), Duration::from_secs(4)];

/// How long a controller may take to tell how a sandbox ended that it has shut down.
const LEAVING: Duration = Duration::from_secs(5);

type Key = (Namespace, String);

/// How a wait ended: an exit, or a code and a message.
type End = Result<Exit, (Code, String)>;

/// A controller that is a process of somebody else. Clones share it.
#[derive(Clone)]
pub struct Proxied(Arc<Shared>);

/// What such a controller is known by and works with.
pub struct Terms {
    /// Its name.
    pub name: String,
    /// Where it is, for clients: `address` among what is configured.
    pub exports: BTreeMap<String, String>,
    /// What it says that it can do.
    pub capabilities: Vec<String>,
    /// The platform that it is for, `OS/ARCHITECTURE`; the node's own if it is empty.
    pub platform: String,
    /// It.
    pub there: Arc<dyn Sandboxer>,
    /// The records of sandboxes.
    pub records: Sandboxes,
    /// Where events go.
    pub events: Events,
    /// The tasks of this process.
    pub jobs: Jobs,
}

struct Shared {
    terms: Terms,
    /// The waits for sandboxes' ends. One stays until its sandbox is shut down.
    ends: Mutex<HashMap<Key, watch::Receiver<Option<End>>>>,
}

impl Proxied {
    /// Nothing is asked of it yet.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self(Arc::new(Shared { terms, ends: Mutex::default() }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.terms.name
    }

    /// What it is known by.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.0.terms
    }

    /// Waits for the ends of those that have records from now on.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn recover(&self) -> Result<()> {
        let mut known = Vec::new();
        self.0.terms.records.every(|namespace, sandbox| {
            if sandbox.sandboxer == self.name() {
                known.push((namespace, sandbox.id));
            }
        })?;
        for (namespace, id) in known {
            if let Ok(ns) = namespace.parse() {
                self.end_of(&(ns, id));
            }
        }
        Ok(())
    }

    fn there(&self) -> &dyn Sandboxer {
        &*self.0.terms.there
    }

    fn tell(&self, ns: &Namespace, event: Event) {
        self.0.terms.events.publish(ns, event);
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Option<End>>>> {
        // It is changed by single calls: a panic cannot leave it half changed.
        self.0.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wait for a sandbox's end, begun if there is none.
    fn end_of(&self, key: &Key) -> watch::Receiver<Option<End>> {
        let mut ends = self.ends();
        if let Some(end) = ends.get(key) {
            return end.clone();
        }
        let (sender, end) = watch::channel(None);
        ends.insert(key.clone(), end.clone());
        drop(ends);
        let (this, key, stop) = (self.clone(), key.clone(), self.0.terms.jobs.token());
        self.0.terms.jobs.spawn("sandbox-end", async move {
            if let Some(answer) = stop.run_until_cancelled(this.until_end(&key)).await {
                match &answer {
                    Ok(exit) => {
                        let (id, exit) = (key.1.clone(), *exit);
                        this.tell(&key.0, Event::SandboxExited { id, exit });
                    }
                    // It may be made yet, or asked for again.
                    Err(_) => drop(this.ends().remove(&key)),
                }
                sender.send_replace(Some(answer));
            }
        });
        end
    }

    async fn until_end(&self, (ns, id): &Key) -> End {
        let [mut pause, longest] = PAUSES;
        loop {
            match self.there().wait(ns, id).await {
                Err(error) if error.code() == Code::Unavailable => {
                    if pause == PAUSES[0] {
                        let (name, error) = (self.name(), chain(&error));
                        tracing::warn!(namespace = %ns, id, sandboxer = name, error, "wait for sandbox");
                    }
                    tokio::time::sleep(pause).await;
                    pause = longest.min(pause * 2);
                }
                answered => return answered.map_err(|error| (error.code(), chain(&error))),
            }
        }
    }

    /// Work that is followed by telling of it, even if nobody waits for the answer any more. It
    /// ends by the deadline of the call in it.
    async fn told<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        to_the_end(&self.0.terms.jobs, name, work).await
    }
}

impl Sandboxer for Proxied {
    fn create<'a>(&'a self, ns: &'a Namespace, sandbox: Sandbox, setup: Setup) -> Work<'a, ()> {
        let (this, ns) = (self.clone(), ns.clone());
        Box::pin(self.told("sandbox-create", async move {
            validate_identifier(&sandbox.id)
                .map_err(|source| Error::Name { what: "invalid sandbox id", source })?;
            drop(this.0.terms.records.enter(&ns).await?);
            let id = sandbox.id.clone();
            this.there().create(&ns, sandbox, setup).await?;
            // An end of an earlier one of this name is none of this one.
            this.ends().remove(&(ns.clone(), id.clone()));
            this.tell(&ns, Event::SandboxCreated { id });
            Ok(())
        }))
    }

    fn start<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, (Started, Endpoint)> {
        let (this, ns, id) = (self.clone(), ns.clone(), id.to_owned());
        Box::pin(self.told("sandbox-start", async move {
            let started = this.there().start(&ns, &id).await;
            let started =
                started.map_err(Error::within(format!("failed to start sandbox {id:?}")))?;
            this.tell(&ns, Event::SandboxStarted { id: id.clone() });
            this.end_of(&(ns, id));
            Ok(started)
        }))
    }

    fn platform<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Platform> {
        self.there().platform(ns, id)
    }

    fn stop<'a>(&'a self, ns: &'a Namespace, id: &'a str, seconds: u32) -> Work<'a, ()> {
        self.there().stop(ns, id, seconds)
    }

    fn wait<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Exit> {
        Box::pin(async move {
            let mut end = self.end_of(&(ns.clone(), id.to_owned()));
            let answered = end.wait_for(Option::is_some).await;
            match answered.ok().and_then(|answer| answer.clone()) {
                Some(Ok(exit)) => Ok(exit),
                Some(Err((code, message))) => Err(Error::Sandboxer { code, message }),
                None => Err(Error::Stopping("sandbox-wait")),
            }
        })
    }

    fn status<'a>(
        &'a self,
        ns: &'a Namespace,
        id: &'a str,
        verbose: bool,
    ) -> Work<'a, (Report, Endpoint)> {
        self.there().status(ns, id, verbose)
    }

    fn shutdown<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, ()> {
        let (this, ns, id) = (self.clone(), ns.clone(), id.to_owned());
        Box::pin(self.told("sandbox-shutdown", async move {
            this.there().shutdown(&ns, &id).await?;
            let key = (ns, id);
            let end = this.ends().get(&key).cloned();
            if let Some(mut end) = end {
                // It tells of the end first. One that does not come to it goes on alone.
                let told = end.wait_for(Option::is_some);
                let _ = tokio::time::timeout(LEAVING, told).await;
                this.ends().remove(&key);
            }
            Ok(())
        }))
    }

    fn metrics<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Option<Measured>> {
        self.there().metrics(ns, id)
    }

    fn update<'a>(
        &'a self,
        ns: &'a Namespace,
        id: &'a str,
        sandbox: Sandbox,
        fields: Vec<String>,
    ) -> Work<'a, ()> {
        self.there().update(ns, id, sandbox, fields)
    }
}
