//! What can be asked about snapshots, and changes of their labels.

use std::sync::Arc;

use berth_ids::{Labels, validate_labels};
use berth_mount::Mount;
use berth_store::Read;

use super::driver::Driver;
use super::records::{Moment, Record, SNAPSHOTS, validate_key};
use super::{Caller, Info, Kind, Snapshots, Usage, blocking, node_kind};
use crate::Error;

/// The numbers of `parent` and all below it, topmost first.
pub(super) fn chain(
    txn: &Read,
    namespace: &str,
    snapshotter: &str,
    parent: &str,
) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    let mut next = parent.to_owned();
    while !next.is_empty() {
        let record = txn.get(&SNAPSHOTS, &(namespace, snapshotter, &*next))?;
        let Some(record) = record else {
            return Err(Error::missing_parent(&next));
        };
        if record.kind != Kind::Committed {
            return Err(not_committed(&next));
        }
        numbers.push(record.id);
        next = record.parent;
    }
    Ok(numbers)
}

/// A parent that is being written still.
pub(super) fn not_committed(parent: &str) -> Error {
    let reason = "it is not a committed snapshot";
    Error::Argument { what: "parent", value: parent.to_owned(), reason }
}

/// A change of a snapshot's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelChange {
    /// All labels are replaced.
    All,
    /// One label is set, or removed if its new value is empty.
    One(String),
}

impl LabelChange {
    /// As a field mask names it.
    pub(super) fn path(&self) -> String {
        match self {
            LabelChange::All => "labels".to_owned(),
            LabelChange::One(key) => format!("labels.{key}"),
        }
    }
}

impl Driver {
    /// What callers see of a snapshot. A label of its own goes before what the snapshotter tells.
    fn info(&self, record: Record, key: String) -> Info {
        let label = self.label(record.id);
        let mut info = record.info(key);
        if let Some((label, value)) = label {
            info.labels.entry(label.to_owned()).or_insert(value);
        }
        info
    }
}

impl Snapshots {
    pub(super) fn find(
        &self,
        namespace: &str,
        snapshotter: &str,
        key: &str,
    ) -> Result<Record, Error> {
        let place = (namespace, snapshotter, key);
        let found = self.shared.store.read(|txn| txn.get(&SNAPSHOTS, &place))?;
        found.ok_or_else(|| Error::missing_snapshot(key))
    }

    /// What is known of one snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn stat(&self, caller: &Caller, snapshotter: &str, key: &str) -> Result<Info, Error> {
        let snapshotter = self.resolve(snapshotter)?;
        if let Some(proxied) = self.shared.proxied(snapshotter) {
            return self.stat_proxied(proxied, caller, key).await;
        }
        let namespace = caller.namespace.as_str();
        self.shared.epochs.touch((namespace.to_owned(), node_kind(snapshotter), key.to_owned()));
        let record = self.find(namespace, snapshotter, key)?;
        Ok(self.shared.driver(snapshotter)?.info(record, key.to_owned()))
    }

    /// All snapshots that `wanted` accepts, by key.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the snapshotter, [`Error::Store`].
    pub async fn list(
        &self,
        caller: &Caller,
        snapshotter: &str,
        wanted: impl Fn(&Info) -> bool,
    ) -> Result<Vec<Info>, Error> {
        let snapshotter = self.resolve(snapshotter)?;
        if let Some(proxied) = self.shared.proxied(snapshotter) {
            let mut found = self.list_proxied(proxied, caller).await?;
            found.retain(wanted);
            return Ok(found);
        }
        let driver = self.shared.driver(snapshotter)?;
        self.shared.store.read(|txn| {
            let mut found = Vec::new();
            for row in txn.range(&SNAPSHOTS, (caller.namespace.as_str(), snapshotter))? {
                let ((_, _, key), record) = row?;
                let info = driver.info(record, key);
                if wanted(&info) {
                    found.push(info);
                }
            }
            Ok(found)
        })
    }

    /// How an active or view snapshot is mounted.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] for a committed one.
    pub async fn mounts(
        &self,
        caller: &Caller,
        snapshotter: &str,
        key: &str,
    ) -> Result<Vec<Mount>, Error> {
        let snapshotter = self.resolve(snapshotter)?;
        if let Some(proxied) = self.shared.proxied(snapshotter) {
            return self.mounts_proxied(proxied, caller, key).await;
        }
        let namespace = caller.namespace.as_str();
        self.shared.epochs.touch((namespace.to_owned(), node_kind(snapshotter), key.to_owned()));
        let (record, parents) = self.with_parents(namespace, snapshotter, key)?;
        if record.kind == Kind::Committed {
            let reason = "it is committed, prepare or view a snapshot on it";
            return Err(Error::State { what: "snapshot", name: key.to_owned(), reason });
        }
        let driver = self.shared.driver(snapshotter)?;
        driver.mounts(record.id, record.kind, &parents, &record.labels)
    }

    fn with_parents(
        &self,
        namespace: &str,
        snapshotter: &str,
        key: &str,
    ) -> Result<(Record, Vec<u64>), Error> {
        self.shared.store.read(|txn| {
            let found = txn.get(&SNAPSHOTS, &(namespace, snapshotter, key))?;
            let missing = || Error::missing_snapshot(key);
            let record = found.ok_or_else(missing)?;
            let parents = chain(txn, namespace, snapshotter, &record.parent)?;
            Ok((record, parents))
        })
    }

    /// What a snapshot takes on disk. Of one that may still change it is counted now.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::File`].
    pub async fn usage(
        &self,
        caller: &Caller,
        snapshotter: &str,
        key: &str,
    ) -> Result<Usage, Error> {
        let snapshotter = self.resolve(snapshotter)?;
        if let Some(proxied) = self.shared.proxied(snapshotter) {
            return self.usage_proxied(proxied, caller, key).await;
        }
        let record = self.find(caller.namespace.as_str(), snapshotter, key)?;
        match (record.kind, record.usage) {
            (_, Some(usage)) => Ok(usage),
            (Kind::View, None) => Ok(Usage::default()),
            _ => {
                let shared = Arc::clone(&self.shared);
                blocking("measure snapshot", move || {
                    let driver = shared.driver(snapshotter)?;
                    driver.usage(&driver.directory(record.id))
                })
                .await
            }
        }
    }

    /// Changes labels; with no changes named, all of them.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Argument`] for an empty key, [`Error::Labels`].
    pub async fn update(
        &self,
        caller: &Caller,
        snapshotter: &str,
        key: &str,
        labels: Labels,
        changes: Vec<LabelChange>,
    ) -> Result<Info, Error> {
        validate_key(key)?;
        let snapshotter = self.resolve(snapshotter)?;
        if let Some(proxied) = self.shared.proxied(snapshotter) {
            return self.update_proxied(proxied, caller, key, labels, changes).await;
        }
        let namespace = caller.namespace.as_str().to_owned();
        let (key, shared) = (key.to_owned(), Arc::clone(&self.shared));
        let entered = shared.enter(&namespace, &labels).await?;
        shared.rely_on(&namespace, snapshotter, &key).await?;
        let update = move |txn: &berth_store::Write| {
            let _until_committed = &entered;
            let place = (&*namespace, snapshotter, &*key);
            let missing = || Error::missing_snapshot(&key);
            let mut record = txn.get(&SNAPSHOTS, &place)?.ok_or_else(missing)?;
            shared.epochs.touch((namespace.clone(), node_kind(snapshotter), key.clone()));
            apply_labels(&mut record.labels, &labels, &changes);
            validate_labels(&record.labels).map_err(Error::Labels)?;
            record.updated = Moment::now();
            txn.put(&SNAPSHOTS, &place, &record)?;
            Ok(shared.driver(snapshotter)?.info(record, key.clone()))
        };
        self.shared.store.commit("update snapshot", update).await
    }
}

pub(super) fn apply_labels(labels: &mut Labels, new: &Labels, changes: &[LabelChange]) {
    if changes.is_empty() || changes.contains(&LabelChange::All) {
        *labels = new.clone();
    }
    for change in changes {
        if let LabelChange::One(key) = change {
            labels.insert(key.clone(), new.get(key).cloned().unwrap_or_default());
        }
    }
    labels.retain(|_, value| !value.is_empty());
}
