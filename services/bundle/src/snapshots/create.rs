//! Prepare and View: a new snapshot on top of a committed one.

use std::sync::Arc;

use berth_ids::{Labels, validate_labels};
use berth_mount::Mount;
use berth_store::{Write, failpoint};

use super::mapping;
use super::records::{LeaseRow, Moment, Record, SNAPSHOTS, validate_key};
use super::{Caller, Change, Entered, Kind, REF_LABEL, Shared, Snapshots, blocking, node_kind};
use crate::Error;

/// What a commit of a new snapshot has found.
pub(super) enum Outcome {
    Made,
    /// Something of that name is there; the lease holds it now.
    Exists(&'static str, String),
}

/// A snapshot to be made.
#[derive(Clone)]
pub(super) struct New {
    pub caller: Caller,
    pub snapshotter: &'static str,
    pub key: String,
    pub parent: String,
    pub kind: Kind,
    pub labels: Labels,
    pub id: u64,
}

impl Snapshots {
    /// Makes an active or view snapshot and answers how it is mounted.
    ///
    /// # Errors
    /// [`Error::Exists`] for a key that is taken, or when the snapshot that the label
    /// `containerd.io/snapshot.ref` names is there already; [`Error::NotFound`] without the parent.
    pub async fn create(
        &self,
        caller: Caller,
        snapshotter: &str,
        kind: Kind,
        key: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<Vec<Mount>, Error> {
        let snapshotter = self.resolve(snapshotter)?;
        validate_key(key)?;
        let labels = checked_labels(labels)?;
        let namespace = caller.namespace.clone();
        let entered = self.shared.enter(namespace.as_str(), &labels).await?;
        let target = labels.get(REF_LABEL).map_or("", String::as_str);
        for used in [key, parent, target] {
            self.shared.rely_on(namespace.as_str(), snapshotter, used).await?;
        }
        let id = self.shared.new_id();
        if let Some(proxied) = self.shared.proxied(snapshotter) {
            let (key, parent) = (key.to_owned(), parent.to_owned());
            let new = New { caller, snapshotter, key, parent, kind, labels, id };
            return self.create_proxied(proxied, new, entered).await;
        }
        let wanted = mapping::Owners::of(&labels)?;
        // With a key or target that is there already only the lease is to be recorded, which the
        // commit does.
        let found = self.exists_or_parents(&caller, snapshotter, key, parent, &labels)?;
        let parents = found.unwrap_or_default();
        let _making = self.shared.making.read().await;
        let (key, parent) = (key.to_owned(), parent.to_owned());
        let new = New { caller, snapshotter, key, parent, kind, labels, id };
        let (shared, chain) = (Arc::clone(&self.shared), parents.clone());
        blocking("make snapshot", move || {
            let driver = shared.driver(snapshotter)?;
            let path = driver.directory(id);
            let made = driver.create(&path, kind, &chain);
            let made = made.and_then(|()| driver.map(&path, &chain, wanted.as_ref()));
            failpoint::file("snapshot", "made");
            made.inspect_err(|_| shared.discard(snapshotter, driver.directory(id)))
        })
        .await?;
        let outcome = self.record(new.clone(), entered).await;
        if !matches!(outcome, Ok(Outcome::Made)) {
            let driver = self.shared.driver(snapshotter)?;
            self.shared.discard(snapshotter, driver.directory(id));
        }
        if let Outcome::Exists(kind, name) = outcome? {
            return Err(Error::Exists { kind, name });
        }
        if kind == Kind::Active {
            let change = Change::Prepared { key: new.key.clone(), parent: new.parent.clone() };
            self.tell(&namespace, snapshotter, change);
        }
        self.shared.driver(snapshotter)?.mounts(id, kind, &parents, &new.labels)
    }

    /// The parent's chain, topmost first; none if the key or the target is there already.
    fn exists_or_parents(
        &self,
        caller: &Caller,
        snapshotter: &str,
        key: &str,
        parent: &str,
        labels: &Labels,
    ) -> Result<Option<Vec<u64>>, Error> {
        let namespace = caller.namespace.as_str();
        self.shared.store.read(|txn| {
            let known = |key: &str| txn.get(&SNAPSHOTS, &(namespace, snapshotter, key));
            let target = labels.get(REF_LABEL).map(|target| known(target)).transpose()?;
            if target.flatten().is_some() || known(key)?.is_some() {
                return Ok(None);
            }
            super::read::chain(txn, namespace, snapshotter, parent).map(Some)
        })
    }

    async fn record(&self, new: New, entered: Entered) -> Result<Outcome, Error> {
        let shared = Arc::clone(&self.shared);
        let insert = move |txn: &Write| {
            let _until_committed = &entered;
            shared.insert(txn, &new)
        };
        self.shared.store.commit("create snapshot", insert).await
    }
}

impl Shared {
    /// Whether the target or the key is there already. The lease then holds it.
    pub(super) fn present(&self, txn: &Write, new: &New) -> Result<Option<Outcome>, Error> {
        let namespace = new.caller.namespace.as_str();
        let target = new.labels.get(REF_LABEL).map(|target| ("target snapshot", target));
        for (what, key) in target.into_iter().chain([("snapshot", &new.key)]) {
            if txn.get(&SNAPSHOTS, &(namespace, new.snapshotter, &**key))?.is_some() {
                self.hold(txn, &new.caller, new.snapshotter, key)?;
                return Ok(Some(Outcome::Exists(what, key.clone())));
            }
        }
        Ok(None)
    }

    /// Records a new snapshot, unless it is there.
    pub(super) fn insert(&self, txn: &Write, new: &New) -> Result<Outcome, Error> {
        let namespace = new.caller.namespace.as_str();
        self.fences.check(namespace)?;
        if let Some(present) = self.present(txn, new)? {
            return Ok(present);
        }
        self.hold(txn, &new.caller, new.snapshotter, &new.key)?;
        adopt_child(txn, namespace, new.snapshotter, &new.parent)?;
        let now = Moment::now();
        let record = Record {
            id: new.id,
            kind: new.kind,
            parent: new.parent.clone(),
            labels: new.labels.clone(),
            created: now,
            updated: now,
            usage: None,
            children: 0,
        };
        txn.put(&SNAPSHOTS, &(namespace, new.snapshotter, &*new.key), &record)?;
        Ok(Outcome::Made)
    }

    /// Records that the caller's lease holds a snapshot, and that it was used just now.
    pub(super) fn hold(
        &self,
        txn: &Write,
        caller: &Caller,
        snapshotter: &str,
        key: &str,
    ) -> Result<(), Error> {
        let namespace = caller.namespace.as_str();
        self.epochs.touch((namespace.to_owned(), node_kind(snapshotter), key.to_owned()));
        match &caller.lease {
            Some((lease, incarnation)) => {
                let row = LeaseRow::of_snapshot(*incarnation, snapshotter, key);
                self.record_hold(txn, namespace, lease, &row)
            }
            None => Ok(()),
        }
    }
}

/// Counts one more child of `parent`, if there is one; it must be committed.
pub(super) fn adopt_child(
    txn: &Write,
    namespace: &str,
    snapshotter: &str,
    parent: &str,
) -> Result<(), Error> {
    if parent.is_empty() {
        return Ok(());
    }
    let place = (namespace, snapshotter, parent);
    let missing = || Error::missing_parent(parent);
    let mut record = txn.get(&SNAPSHOTS, &place)?.ok_or_else(missing)?;
    if record.kind != Kind::Committed {
        return Err(super::read::not_committed(parent));
    }
    record.children += 1;
    Ok(txn.put(&SNAPSHOTS, &place, &record)?)
}

/// Labels that are allowed, without those that have no value.
pub(super) fn checked_labels(mut labels: Labels) -> Result<Labels, Error> {
    validate_labels(&labels).map_err(Error::Labels)?;
    labels.retain(|_, value| !value.is_empty());
    Ok(labels)
}
