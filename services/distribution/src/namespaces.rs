//! Namespaces: the list that every service of the node follows.
//!
//! Owns: the records of namespaces. Must not know: what other services keep in one, beyond the kinds
//! that they report.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use berth_ids::{Labels, Namespace};
use berth_store::Write;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::error::{Error, Result};
use crate::events::Event;
use crate::records::{self, CONTENT, IMAGES, LEASES, NAMESPACES, Space};
use crate::scope::Scope;
use crate::shared::{LabelChange, Shared, clean_labels};

/// The namespaces. Clones are the same.
#[derive(Clone)]
pub struct Namespaces {
    shared: Arc<Shared>,
    /// Deletions under way: a registration waits for them.
    leaving: Arc<Mutex<HashMap<Namespace, Arc<AsyncMutex<()>>>>>,
}

impl Namespaces {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, leaving: Arc::default() }
    }

    /// A namespace's labels.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::Store`].
    pub fn get(&self, name: &Namespace) -> Result<Labels> {
        let read = |txn: &berth_store::Read| Ok::<_, Error>(txn.get(&NAMESPACES, name.as_str())?);
        let found = self.shared.store.read(read)?;
        Ok(found.ok_or_else(|| Error::NamespaceNotFound(name.to_string()))?.labels)
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
        let labels = clean_labels("namespace", labels)?;
        let _leaving = self.enter(name).await;
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
        let _leaving = self.enter(name).await;
        match self.get(name) {
            Err(Error::NamespaceNotFound(_)) => {}
            other => return other.map(drop),
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

    /// Changes a namespace's labels.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::Label`], [`Error::Store`].
    pub async fn update(&self, name: &Namespace, labels: LabelChange) -> Result<Labels> {
        clean_labels("namespace", labels.new_labels())?;
        let key = name.clone();
        let updated = self.shared.store.commit("namespaces.update", move |txn| {
            let Some(mut space) = txn.get(&NAMESPACES, key.as_str())? else {
                return Err(Error::NamespaceNotFound(key.to_string()));
            };
            labels.apply(&mut space.labels);
            txn.put(&NAMESPACES, key.as_str(), &space)?;
            Ok(space.labels)
        });
        let labels = updated.await?;
        self.tell(name, Event::NamespaceUpdated { labels: labels.clone() });
        Ok(labels)
    }

    /// Deletes a namespace that no service keeps anything in. Meanwhile a fence keeps the others
    /// from making something in it.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::NamespaceNotEmpty`], [`Error::Neighbour`] when one does
    /// not answer, [`Error::Store`].
    pub async fn delete(&self, name: &Namespace) -> Result<()> {
        self.get(name)?;
        let _leaving = self.enter(name).await;
        let deleted = self.delete_fenced(name).await;
        for peer in self.shared.peers.iter() {
            if let Err(error) = peer.fence(name, false).await {
                // Its next start takes the fence down.
                tracing::warn!(service = peer.name(), namespace = %name, %error, "lower fence");
            }
        }
        deleted?;
        self.tell(name, Event::NamespaceDeleted);
        Ok(())
    }

    async fn delete_fenced(&self, name: &Namespace) -> Result<()> {
        let mut kept = Vec::new();
        for peer in self.shared.peers.iter() {
            peer.fence(name, true).await?;
            kept.extend(peer.usage(name).await?);
        }
        let key = name.clone();
        let deleted = self.shared.store.commit("namespaces.delete", move |txn| {
            let mut kinds = own_kinds(txn, &key)?;
            kinds.extend(kept.iter().cloned());
            if !kinds.is_empty() {
                let namespace = key.to_string();
                return Err(Error::NamespaceNotEmpty { namespace, kinds: kinds.join(", ") });
            }
            for record in txn.range(&LEASES, (key.as_str(),))? {
                let ((_, lease), _) = record?;
                records::drop_lease(txn, key.as_str(), &lease)?;
            }
            if txn.delete(&NAMESPACES, key.as_str())? {
                Ok(())
            } else {
                Err(Error::NamespaceNotFound(key.to_string()))
            }
        });
        deleted.await
    }

    async fn enter(&self, name: &Namespace) -> OwnedMutexGuard<()> {
        let lock = {
            let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
            leaving.retain(|_, lock| Arc::strong_count(lock) > 1);
            leaving.entry(name.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }

    fn tell(&self, name: &Namespace, event: Event) {
        self.shared.tell(&Scope::new(name.clone()), &event);
    }
}

/// The kinds of objects of this service in a namespace, in containerd's words.
fn own_kinds(txn: &Write, namespace: &Namespace) -> Result<Vec<String>> {
    let mut kinds = Vec::new();
    if txn.range(&IMAGES, (namespace.as_str(),))?.next().is_some() {
        kinds.push("images".to_owned());
    }
    if txn.range(&CONTENT, (namespace.as_str(),))?.next().is_some() {
        kinds.push("blobs".to_owned());
    }
    Ok(kinds)
}
