//! Deleting a namespace behind fences.
//!
//! Invariant: that a neighbour may have a fence up is recorded before it is asked to, until it has
//! taken it down again: a process that was killed in between takes it down on its next start.

use std::time::Duration;

use berth_ids::Namespace;
use berth_store::Write;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::Namespaces;
use crate::content::Content;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::records::{self, CONTENT, FENCED, IMAGES, LEASES, NAMESPACES};

/// Between two tries to take down a fence of a neighbour that does not answer, beside what the
/// call itself waits for it.
const PAUSE: Duration = Duration::from_secs(1);

impl Namespaces {
    /// Deletes a namespace that no service keeps anything in. Meanwhile a fence keeps the others
    /// from making something in it.
    ///
    /// # Errors
    /// [`Error::NamespaceNotFound`], [`Error::NamespaceNotEmpty`], [`Error::Neighbour`] when one does
    /// not answer, [`Error::Store`].
    pub async fn delete(&self, name: &Namespace) -> Result<()> {
        let (namespaces, name) = (self.clone(), name.clone());
        let delete = async move { namespaces.delete_told(&name).await };
        self.shared.to_its_end("delete namespace", delete).await
    }

    async fn delete_told(&self, name: &Namespace) -> Result<()> {
        self.get(name)?;
        let _leaving = self.leaving.alone(name).await;
        let key = name.clone();
        let noted = self.shared.store.commit("namespaces.fence", move |txn| {
            Ok::<_, Error>(txn.put(&FENCED, key.as_str(), &())?)
        });
        noted.await?;
        let deleted = self.delete_fenced(name).await;
        if deleted.is_ok() {
            self.tell(name, Event::NamespaceDeleted);
            // Before the fence is down: whoever makes the namespace anew keeps what is written then.
            self.end_ingests(name).await;
        }
        // The deletion has happened, or has not, whatever becomes of the fence.
        if let Err(error) = self.lower(name).await {
            tracing::warn!(namespace = %name, error = berth_errors::chain(&error), "lower fence");
            self.owed.notify_one();
        }
        deleted
    }

    /// What was being written there goes with the namespace, but for what somebody writes now. A
    /// folder that cannot be deleted is taken in by the next start, and goes stale.
    async fn end_ingests(&self, name: &Namespace) {
        for ingest in self.shared.ingests.list(|ingest| ingest.namespace() == name) {
            if !self.shared.ingests.remove_idle(&ingest, || false) {
                continue;
            }
            if let Err(error) = Content(self.shared.clone()).discard(&ingest).await {
                let error = berth_errors::chain(&error);
                tracing::warn!(namespace = %name, ingest = ingest.reference(), error, "delete ingest");
            }
        }
    }

    async fn delete_fenced(&self, name: &Namespace) -> Result<()> {
        for peer in self.shared.peers.iter() {
            peer.fence(name, true).await?;
        }
        // containerd's order: containers come before snapshots.
        let mut kept = Vec::new();
        for peer in self.shared.peers.iter().rev() {
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

    /// Takes the fences down, or leaves that to [`Namespaces::lower_left`].
    async fn lower(&self, name: &Namespace) -> Result<()> {
        let lower = self.shared.peers.iter().map(|peer| async move {
            let lowered = peer.fence(name, false).await;
            if let Err(error) = &lowered {
                tracing::warn!(service = peer.name(), namespace = %name, %error, "lower fence");
            }
            lowered.is_ok()
        });
        if join_all(lower).await.contains(&false) {
            self.owed.notify_one();
            return Ok(());
        }
        let key = name.clone();
        let lowered = self.shared.store.commit("namespaces.lower", move |txn| {
            Ok::<_, Error>(txn.delete(&FENCED, key.as_str()).map(drop)?)
        });
        lowered.await
    }

    /// Takes down what fences deletions have left, of this run and of earlier ones, until the
    /// process ends.
    pub async fn lower_left(self, stop: CancellationToken) {
        let lowering = async {
            loop {
                match self.lower_all().await {
                    Ok(true) => self.owed.notified().await,
                    Ok(false) => tokio::time::sleep(PAUSE).await,
                    Err(error) => {
                        let error = berth_errors::chain(&error);
                        tracing::error!(error, "take down fences that deletions have left");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        // What is left at the end the next run does.
        let _: Option<()> = stop.run_until_cancelled(lowering).await;
    }

    /// One try; answers whether none is left.
    async fn lower_all(&self) -> Result<bool> {
        for name in self.fenced()? {
            let _leaving = self.leaving.alone(&name).await;
            // A deletion that was under way may have taken it down itself.
            if self.fenced()?.contains(&name) {
                self.lower(&name).await?;
            }
        }
        Ok(self.fenced()?.is_empty())
    }

    fn fenced(&self) -> Result<Vec<Namespace>> {
        self.shared.store.read(|txn| {
            let records = txn.range(&FENCED, ())?;
            records.map(|record| Ok(record?.0.parse()?)).collect()
        })
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
