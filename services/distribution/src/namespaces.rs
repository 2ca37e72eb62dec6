//! Namespaces: the list that every service of the node follows.
//!
//! Owns: the records of namespaces. Must not know: what other services keep in one, beyond the kinds
//! that they report.

mod deletion;

use std::sync::Arc;

use berth_ids::{Labels, Namespace};
use berth_lifecycle::Keyed;
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::events::Event;
use crate::records::{NAMESPACES, Space};
use crate::scope::Scope;
use crate::shared::{LabelChange, Shared, clean_labels};

const DEFAULT_SNAPSHOTTER: &str = "containerd.io/defaults/snapshotter";

/// The namespaces. Clones are the same.
#[derive(Clone)]
pub struct Namespaces {
    shared: Arc<Shared>,
    /// Held by who deletes or makes a namespace: a registration waits for deletions under way.
    leaving: Keyed<Namespace>,
    /// Wakes who takes down fences that a deletion could not take down.
    owed: Arc<Notify>,
}

impl Namespaces {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, leaving: Keyed::default(), owed: Arc::default() }
    }

    /// A namespace's labels, if it is there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn get(&self, name: &Namespace) -> Result<Option<Labels>> {
        let read = |txn: &berth_store::Read| Ok::<_, Error>(txn.get(&NAMESPACES, name.as_str())?);
        Ok(self.shared.store.read(read)?.map(|space| space.labels))
    }

    /// The snapshotter that the namespace's label names for those who name none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn default_snapshotter(&self, name: &Namespace) -> Result<Option<String>> {
        Ok(self.get(name)?.and_then(|mut labels| labels.remove(DEFAULT_SNAPSHOTTER)))
    }

    /// All namespaces, by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn list(&self) -> Result<Vec<(Namespace, Labels)>> {
        self.shared.store.read(|txn| {
            let mut found = Vec::new();
            for record in txn.range(&NAMESPACES, ())? {
                let (name, space) = record?;
                found.push((name.parse()?, space.labels));
            }
            Ok(found)
        })
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// [`Error::NamespaceExists`], [`Error::Label`], [`Error::Store`].
    pub async fn create(&self, name: &Namespace, labels: Labels) -> Result<Labels> {
        let (namespaces, name) = (self.clone(), name.clone());
        let create = async move { namespaces.create_told(&name, labels).await };
        self.shared.to_its_end("create namespace", create).await
    }

    async fn create_told(&self, name: &Namespace, labels: Labels) -> Result<Labels> {
        let labels = clean_labels("namespace", labels)?;
        let _leaving = self.leaving.alone(name).await;
        let (key, space) = (name.clone(), Space { labels: labels.clone() });
        let created = self.shared.store.commit("namespaces.create", move |txn| {
            if txn.get(&NAMESPACES, key.as_str())?.is_some() {
                return Err(Error::NamespaceExists(key.to_string()));
            }
            Ok(txn.put(&NAMESPACES, key.as_str(), &space)?)
        });
        created.await?;
        self.tell(name, Event::NamespaceCreated { labels: labels.clone() });
        Ok(labels)
    }

    /// Makes a namespace exist for another service. Waits for a deletion under way.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn register(&self, name: &Namespace) -> Result<()> {
        let _leaving = self.leaving.alone(name).await;
        if self.get(name)?.is_some() {
            return Ok(());
        }
        let key = name.clone();
        let registered = self.shared.store.commit("namespaces.register", move |txn| {
            if txn.get(&NAMESPACES, key.as_str())?.is_none() {
                txn.put(&NAMESPACES, key.as_str(), &Space::default())?;
            }
            Ok(())
        });
        registered.await
    }

    /// Changes the labels of a namespace, which comes into being by it. `told` are those that the
    /// event tells of.
    ///
    /// # Errors
    /// [`Error::Label`], [`Error::Store`].
    pub async fn update(&self, name: &Namespace, change: LabelChange, told: Labels) -> Result<()> {
        let (namespaces, name) = (self.clone(), name.clone());
        let update = async move { namespaces.update_told(&name, change, told).await };
        self.shared.to_its_end("update namespace", update).await
    }

    async fn update_told(&self, name: &Namespace, change: LabelChange, told: Labels) -> Result<()> {
        clean_labels("namespace", change.new_labels())?;
        let _leaving = self.leaving.alone(name).await;
        let key = name.clone();
        let updated = self.shared.store.commit("namespaces.update", move |txn| {
            let mut space = txn.get(&NAMESPACES, key.as_str())?.unwrap_or_default();
            change.apply(&mut space.labels);
            Ok::<_, Error>(txn.put(&NAMESPACES, key.as_str(), &space)?)
        });
        updated.await?;
        self.tell(name, Event::NamespaceUpdated { labels: told });
        Ok(())
    }

    fn tell(&self, name: &Namespace, event: Event) {
        self.shared.tell(&Scope::new(name.clone()), &event);
    }
}
