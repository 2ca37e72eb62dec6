//! Leases: holds on things that nothing refers to yet.
//!
//! Owns: the records of leases and of what they hold of this service; who must be told of the rest.
//! Must not know: what is leased.
//!
//! Invariant: the incarnations of leases only grow, so that what was recorded elsewhere for a lease
//! that was deleted means nothing to one of the same name. The end of a lease, by a call or by its
//! expiry, is announced to nobody: whoever works under one asks for it.

mod filter;
pub mod resources;

use std::sync::Arc;
use std::time::SystemTime;

use berth_filters::Filter;
use berth_ids::{Labels, Namespace, validate_identifier};
use berth_store::Write;

use crate::error::{Error, Result};
use crate::gc::collect::Collector;
use crate::neighbour::LeaseName;
use crate::records::{self, LEASES, Lease, META};
use crate::scope::Scope;
use crate::shared::{Shared, clean_labels};

const INCARNATION: &str = "lease-incarnation";

/// A lease with its name.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// The rest.
    pub lease: Lease,
}

/// The leases. Clones are the same.
#[derive(Clone)]
pub struct Leases {
    shared: Arc<Shared>,
    collector: Collector,
}

impl Leases {
    pub(crate) fn new(shared: Arc<Shared>, collector: Collector) -> Self {
        Self { shared, collector }
    }

    /// Makes a lease. One commit, which nothing follows: a caller that leaves cuts nothing off.
    ///
    /// # Errors
    /// [`Error::LeaseExists`], [`Error::Required`], [`Error::Label`], [`Error::Store`].
    pub async fn create(&self, namespace: &Namespace, id: &str, labels: Labels) -> Result<Named> {
        if id.is_empty() {
            return Err(Error::Required("lease id must be provided"));
        }
        if id.len() > berth_ids::MAX_LABEL {
            validate_identifier(id)?;
        }
        let labels = clean_labels("lease", labels)?;
        let change = self.shared.epochs.enter();
        let (scope, id) = (Scope::new(namespace.clone()), id.to_owned());
        let created = SystemTime::now();
        let named = self.shared.store.commit("leases.create", move |txn| {
            let _until_committed = &change;
            records::enter(txn, &scope, &[])?;
            let key = (scope.namespace.as_str(), id.as_str());
            if txn.get(&LEASES, &key)?.is_some() {
                return Err(Error::LeaseExists(id.clone()));
            }
            let incarnation = next_incarnation(txn)?;
            let lease = Lease { incarnation, created, labels: labels.clone() };
            txn.put(&LEASES, &key, &lease)?;
            Ok(Named { id: id.clone(), lease })
        });
        named.await
    }

    /// A lease's name with its incarnation.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`], [`Error::Store`].
    pub fn resolve(&self, namespace: &Namespace, id: &str) -> Result<LeaseName> {
        let key = (namespace.as_str(), id);
        let found = self.shared.store.read(|txn| Ok::<_, Error>(txn.get(&LEASES, &key)?))?;
        let lease = found.ok_or_else(|| Error::LeaseNotFound(id.to_owned()))?;
        Ok(LeaseName {
            namespace: namespace.clone(),
            id: id.to_owned(),
            incarnation: lease.incarnation,
        })
    }

    /// The leases of a namespace that match, by id.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list(&self, namespace: &Namespace, filter: Filter) -> Result<Vec<Named>> {
        let namespace = namespace.clone();
        let list = move |shared: &Shared| {
            shared.store.read(|txn| {
                let mut found = Vec::new();
                for record in txn.range(&LEASES, (namespace.as_str(),))? {
                    let ((_, id), lease) = record?;
                    let named = Named { id, lease };
                    if filter.matches(&named) {
                        found.push(named);
                    }
                }
                Ok(found)
            })
        };
        self.shared.blocking("list leases", list).await
    }

    /// Deletes a lease: what it alone held is collected. With `wait` this returns after that.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`], [`Error::Store`], and with `wait` what ends a collection; the lease
    /// is deleted then.
    pub async fn delete(&self, namespace: &Namespace, id: &str, wait: bool) -> Result<()> {
        let (leases, namespace, id) = (self.clone(), namespace.clone(), id.to_owned());
        let delete = async move { leases.delete_counted(&namespace, &id).await };
        self.shared.to_its_end("delete lease", delete).await?;
        if wait { self.collector.cleared().await } else { Ok(()) }
    }

    async fn delete_counted(&self, namespace: &Namespace, id: &str) -> Result<()> {
        let change = self.shared.epochs.enter();
        let (space, key) = (namespace.clone(), id.to_owned());
        let deleted = self.shared.store.commit("leases.delete", move |txn| {
            if records::drop_lease(txn, space.as_str(), &key)? {
                Ok(())
            } else {
                Err(Error::LeaseNotFound(key.clone()))
            }
        });
        deleted.await?;
        drop(change);
        self.shared.demand.deleted();
        Ok(())
    }

    /// Deletes the leases that an earlier run made with this label. Nobody is told: nobody uses
    /// such a lease any more, and its name does not come again.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn delete_left(&self, label: &'static str) -> Result<()> {
        let left = self.shared.store.read(|txn| {
            let mut left = Vec::new();
            for record in txn.range(&LEASES, ())? {
                let (key, lease) = record?;
                left.extend(lease.labels.contains_key(label).then_some(key));
            }
            Ok::<_, Error>(left)
        })?;
        if left.is_empty() {
            return Ok(());
        }
        let _change = self.shared.epochs.enter();
        let deleted = self.shared.store.commit("leases.delete-left", move |txn| {
            for (namespace, id) in &left {
                records::drop_lease(txn, namespace, id)?;
            }
            Ok::<_, Error>(())
        });
        deleted.await?;
        self.shared.demand.deleted();
        Ok(())
    }
}

fn next_incarnation(txn: &Write) -> Result<u64> {
    let last = txn.get(&META, INCARNATION)?.and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    txn.put(&META, INCARNATION, &(last + 1).to_string())?;
    Ok(last + 1)
}
