//! Sandboxes that are run by processes of others: controllers behind a socket.
//!
//! Owns: what is told of such sandboxes, the one wait for the end of each, and the names that count
//! as taken. Must not know: the wire; the [`Sandboxer`] that is asked does.
//!
//! Nothing is kept of them but their records: the controller knows which there are, also after it or
//! this service was started anew. Of those that have no record and were not made in this run nothing
//! is known: a wait for one goes to the controller, and lasts as long as its caller.
//!
//! Invariants:
//! - A call ends by its deadline; only a wait has none, and lasts over restarts of the controller.
//! - The end of a sandbox that is known is told once in a run of this service, however many wait for
//!   it. One that has ended and was not shut down may be told of again by the next run.
//! - A start that may have been carried out is found out about.
//! - What runs on by itself does so for a sandbox that its controller has said to be there, or that
//!   has a record.

mod known;
mod life;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use berth_errors::chain;
use berth_ids::{Namespace, validate_identifier};
use berth_lifecycle::Tasks as Jobs;

use super::{
    Endpoint, Measured, Platform, Report, Sandboxer, Sandboxes, Setup, Started, sandboxer::Work,
};
use crate::error::{Error, Result};
use crate::events::{Event, Events};
use crate::process::Exit;
use crate::records::Sandbox;
use crate::register::Key;
use crate::work::to_the_end;
use known::Known;
use life::{Life, Start};

/// How long a controller may take to tell how a sandbox ended that is not there any more.
const LEAVING: Duration = Duration::from_secs(5);

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
    known: Known,
}

impl Proxied {
    /// Nothing is asked of it yet.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self(Arc::new(Shared { terms, known: Known::default() }))
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
                self.watch(&self.life((ns, id), Start::Before));
            }
        }
        Ok(())
    }

    /// The names of those of a namespace that are there or are being made, as far as this run was
    /// told.
    #[must_use]
    pub fn names(&self, ns: &Namespace) -> BTreeSet<String> {
        self.0.known.names(ns)
    }

    fn there(&self) -> &dyn Sandboxer {
        &*self.0.terms.there
    }

    fn tell(&self, ns: &Namespace, event: Event) {
        self.0.terms.events.publish(ns, event);
    }

    /// What is known of a sandbox that is there.
    fn life(&self, key: Key, start: Start) -> Arc<Life> {
        self.0.known.or_insert(Life::new(key, start, self.0.terms.events.clone()))
    }

    /// Forgets a sandbox that is not there any more. Whoever waits for it hears so.
    fn forget(&self, life: &Arc<Life>, words: String) {
        life.leave(words);
        self.0.known.remove(life);
    }

    /// Forgets a sandbox that was shut down, once its end was told if that `is_awaited`. One that
    /// does not come to it has ended all the same.
    async fn part(&self, life: &Arc<Life>, is_awaited: bool) {
        if is_awaited {
            let _ = tokio::time::timeout(LEAVING, life.over()).await;
        }
        self.forget(life, Error::SandboxNotFound(life.key().1.clone()).to_string());
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
            let id = sandbox.id.clone();
            validate_identifier(&id)
                .map_err(|source| Error::Name { what: "invalid sandbox id", source })?;
            let key = (ns.clone(), id.clone());
            let _making = {
                // Whoever empties the namespace sees the name, or keeps this from being made.
                let _pass = this.0.terms.records.enter(&ns).await?;
                this.0.known.begin(&key)
            };
            this.there().create(&ns, sandbox, setup).await?;
            // Its controller has given the name again: what had it is gone.
            if let Some(earlier) = this.0.known.get(&key) {
                this.part(&earlier, earlier.started()).await;
            }
            this.tell(&ns, Event::SandboxCreated { id });
            this.life(key, Start::Not);
            Ok(())
        }))
    }

    fn start<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, (Started, Endpoint)> {
        let (this, ns, id) = (self.clone(), ns.clone(), id.to_owned());
        Box::pin(self.told("sandbox-start", async move {
            let key = (ns, id);
            let known = this.0.known.get(&key);
            let started = match this.there().start(&key.0, &key.1).await {
                Ok(started) => started,
                Err(error) => {
                    if let Some(life) = known.filter(|_| watch::is_in_doubt(&error)) {
                        this.doubt(&life);
                    }
                    let step = format!("failed to start sandbox {:?}", key.1);
                    return Err(Error::within(step)(error));
                }
            };
            // One that had ended runs again: that is another life.
            if let Some(ended) = known.filter(|life| life.is_over()) {
                this.0.known.remove(&ended);
            }
            let life = this.life(key, Start::Not);
            life.tell_start();
            this.watch(&life);
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
            let key = (ns.clone(), id.to_owned());
            let ended = async {
                match self.0.known.get(&key) {
                    Some(life) => {
                        self.watch(&life);
                        life.end().await
                    }
                    None => {
                        let exit = self.ask_for_end(&key).await?;
                        // Of one that was made meanwhile its own life tells.
                        if self.0.known.get(&key).is_none() {
                            self.tell(ns, Event::SandboxExited { id: key.1.clone(), exit });
                        }
                        Ok(exit)
                    }
                }
            };
            // A wait has no end of its own, and should not hold up that of the service.
            let stop = self.0.terms.jobs.token();
            let ended = stop.run_until_cancelled(ended).await;
            ended.unwrap_or(Err(Error::Stopping("sandbox-wait")))
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
            let known = this.0.known.get(&(ns.clone(), id.clone()));
            let shut_down = this.there().shutdown(&ns, &id).await;
            if let Some(life) = known {
                match &shut_down {
                    Ok(()) => this.part(&life, life.may_run()).await,
                    Err(error) if error.is_not_found() => this.forget(&life, chain(error)),
                    Err(_) => {}
                }
            }
            shut_down
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
