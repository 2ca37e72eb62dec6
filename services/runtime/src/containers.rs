//! Containers: records of what tasks are made of. Nothing here runs.
//!
//! Invariant: a change runs to its end even if its caller goes away, so that what is recorded is told.

mod filter;
mod update;
mod watched;

use std::sync::Arc;
use std::time::SystemTime;

use berth_filters::Filter;
use berth_ids::{Namespace, validate_identifier, validate_labels};
use berth_lifecycle::Tasks as Jobs;
use berth_store::Store;
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::events::{Event, Events};
use crate::gate::Gate;
use crate::networks::mark_leaving;
use crate::records::{CONTAINERS, Container};
use crate::refs;
use crate::work::to_the_end;

pub use update::Update;
pub use watched::Watched;

/// The containers of the node.
#[derive(Clone)]
pub struct Containers {
    store: Store,
    gate: Arc<Gate>,
    events: Events,
    watched: Watched,
    jobs: Jobs,
    departures: Arc<Notify>,
}

impl Containers {
    /// The containers in `store`.
    #[must_use]
    pub fn new(store: Store, gate: Arc<Gate>, events: Events, jobs: Jobs) -> Self {
        let (watched, departures) = (Watched::default(), Arc::default());
        Self { store, gate, events, watched, jobs, departures }
    }

    /// Told when one is forgotten that was attached to networks.
    pub(crate) fn departures(&self) -> Arc<Notify> {
        self.departures.clone()
    }

    /// Checks that the lease that a change names is there, if it names one.
    ///
    /// # Errors
    /// [`Error::Peer`], with NOT_FOUND for a lease that is not there.
    pub async fn under(&self, ns: &Namespace, lease: Option<&str>) -> Result<()> {
        self.gate.under(ns, lease).await
    }

    /// Records a container. Its times are set here.
    ///
    /// # Errors
    /// [`Error::ContainerExists`], [`Error::Name`], [`Error::Invalid`], [`Error::Fenced`].
    pub async fn create(&self, ns: &Namespace, container: Container) -> Result<Container> {
        let (this, ns) = (self.clone(), ns.clone());
        let work = async move { this.record(&ns, container).await };
        to_the_end(&self.jobs, "container-create", work).await
    }

    async fn record(&self, ns: &Namespace, mut container: Container) -> Result<Container> {
        validate(&container).map_err(Error::within("create container failed validation"))?;
        container.labels.retain(|_, value| !value.is_empty());
        container.created = SystemTime::now();
        container.updated = container.created;
        let pass = self.gate.enter(ns, &refs::own(&container), &container.labels).await?;
        let (key, record) = ((ns.to_string(), container.id.clone()), container.clone());
        let work = move |txn: &berth_store::Write| {
            // Until this commit is done, whoever waits for it.
            let _entered = &pass;
            if txn.get(&CONTAINERS, &key)?.is_some() {
                return Err(Error::ContainerExists(key.1.clone()));
            }
            Ok(txn.put(&CONTAINERS, &key, &record)?)
        };
        self.store.commit("containers.create", work).await?;
        self.watched.note(ns, &container);
        let Container { id, image, runtime, .. } = container.clone();
        self.events.publish(ns, Event::ContainerCreated { id, image, runtime });
        Ok(container)
    }

    /// One container.
    ///
    /// # Errors
    /// [`Error::ContainerNotFound`].
    pub fn get(&self, ns: &Namespace, id: &str) -> Result<Container> {
        let found = self.store.read(|txn| txn.get(&CONTAINERS, &(ns.as_str(), id)))?;
        found.ok_or_else(|| not_found(ns.as_str(), id))
    }

    /// Hands every container that matches to `each`, in the order of their ids, until it answers
    /// false. All are of one consistent state.
    ///
    /// # Errors
    /// [`Error::Filter`], [`Error::Store`].
    pub fn list(
        &self,
        ns: &Namespace,
        filters: &[String],
        mut each: impl FnMut(Container) -> bool,
    ) -> Result<()> {
        let filter = Filter::parse_any(filters)?;
        self.store.read(|txn| {
            for record in txn.range(&CONTAINERS, (ns.as_str(),))? {
                let (_, container) = record?;
                if filter.matches(&filter::View(&container)) && !each(container) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Hands every container of every namespace to `each`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn every(&self, mut each: impl FnMut(String, Container)) -> Result<()> {
        self.store.read(|txn| {
            for record in txn.range(&CONTAINERS, ())? {
                let ((namespace, _), container) = record?;
                each(namespace, container);
            }
            Ok(())
        })
    }

    /// Changes a container.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::Name`], [`Error::Invalid`], [`Error::Fenced`].
    pub async fn update(&self, ns: &Namespace, update: Update) -> Result<Container> {
        let (this, ns) = (self.clone(), ns.clone());
        let work = async move { this.change(&ns, update).await };
        to_the_end(&self.jobs, "container-update", work).await
    }

    async fn change(&self, ns: &Namespace, update: Update) -> Result<Container> {
        if update.new.id.is_empty() {
            return Err(Error::Invalid("must specify a container id".into()));
        }
        let pass = self.gate.enter(ns, &refs::own(&update.new), &update.new.labels).await?;
        let key = (ns.to_string(), update.new.id.clone());
        let work = move |txn: &berth_store::Write| {
            // Until this commit is done, whoever waits for it.
            let _entered = &pass;
            let current = txn.get(&CONTAINERS, &key)?;
            let current = current.ok_or_else(|| Error::NoContainer(key.1.clone()))?;
            let mut updated = update.apply(current)?;
            validate(&updated).map_err(Error::within("update failed validation"))?;
            updated.updated = SystemTime::now();
            txn.put(&CONTAINERS, &key, &updated)?;
            Ok::<_, Error>(updated)
        };
        let updated = self.store.commit("containers.update", work).await?;
        self.watched.note(ns, &updated);
        let Container { id, image, labels, snapshot_key, .. } = updated.clone();
        self.events.publish(ns, Event::ContainerUpdated { id, image, labels, snapshot_key });
        Ok(updated)
    }

    /// Forgets a container. Of one that is attached to networks that is undone from here on.
    ///
    /// # Errors
    /// [`Error::NoContainerToDelete`].
    pub async fn delete(&self, ns: &Namespace, id: &str) -> Result<()> {
        let (this, ns, id) = (self.clone(), ns.clone(), id.to_owned());
        let work = async move { this.forget(&ns, &id).await };
        to_the_end(&self.jobs, "container-delete", work).await
    }

    async fn forget(&self, ns: &Namespace, id: &str) -> Result<()> {
        let key = (ns.to_string(), id.to_owned());
        let work = move |txn: &berth_store::Write| {
            if txn.delete(&CONTAINERS, &key)? {
                return Ok(mark_leaving(txn, &key)?.is_some());
            }
            Err(Error::NoContainerToDelete(key.1.clone()))
        };
        if self.store.commit("containers.delete", work).await? {
            self.departures.notify_one();
        }
        // A collection is due: its snapshot may have nobody else.
        self.gate.news().deleted();
        self.unwatch(ns, id);
        self.events.publish(ns, Event::ContainerDeleted { id: id.to_owned() });
        Ok(())
    }
}

fn not_found(namespace: &str, id: &str) -> Error {
    Error::ContainerNotFound { id: id.to_owned(), namespace: namespace.to_owned() }
}

fn validate(container: &Container) -> Result<()> {
    let invalid = |text: &str| Err(Error::Invalid(text.to_owned()));
    validate_identifier(&container.id)
        .map_err(|source| Error::Name { what: "container.ID", source })?;
    validate_labels(&container.labels)
        .map_err(|source| Error::Name { what: "containers.Labels", source })?;
    if container.extensions.contains_key("") {
        return invalid("container.Extension keys must not be zero-length");
    }
    if container.runtime.name.is_empty() {
        return invalid("container.Runtime.Name must be set");
    }
    if container.spec.is_none() {
        return invalid("container.Spec must be set");
    }
    if !container.snapshot_key.is_empty() && container.snapshotter.is_empty() {
        return invalid("container.Snapshotter must be set if container.SnapshotKey is set");
    }
    Ok(())
}
