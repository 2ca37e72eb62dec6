//! What can be asked about snapshots at a backend, and changes of their labels.

use std::sync::Arc;

use berth_errors::{Code, Coded};
use berth_ids::{Labels, validate_labels};
use berth_mount::Mount;
use berth_store::Write;
use futures::{StreamExt, TryStreamExt, stream};

use super::rows::NAMES;
use super::{Proxied, inherited};
use crate::Error;
use crate::snapshots::read::apply_labels;
use crate::snapshots::records::{Moment, Record, SNAPSHOTS};
use crate::snapshots::{Caller, Info, LabelChange, Snapshots, Usage, node_kind};

/// How many snapshots of a list are asked about at once.
const AT_ONCE: usize = 16;

impl Snapshots {
    /// A snapshot's record and what the backend calls it.
    fn found(&self, caller: &Caller, name: &str, key: &str) -> Result<(Record, String), Error> {
        let namespace = caller.namespace.as_str();
        self.shared.epochs.touch((namespace.to_owned(), node_kind(name), key.to_owned()));
        let record = self.find(namespace, name, key)?;
        Ok((record, self.shared.name_there(namespace, name, key)?))
    }

    pub(in crate::snapshots) async fn stat_proxied(
        &self,
        proxied: &Proxied,
        caller: &Caller,
        key: &str,
    ) -> Result<Info, Error> {
        let (record, name) = self.found(caller, proxied.name(), key)?;
        let there = proxied.backend().stat(&caller.namespace, &name).await?;
        Ok(over(there, record.info(key.to_owned())))
    }

    /// All snapshots of a namespace that the backend has too, by key.
    pub(in crate::snapshots) async fn list_proxied(
        &self,
        proxied: &Proxied,
        caller: &Caller,
    ) -> Result<Vec<Info>, Error> {
        let rows: Vec<(Info, String)> = self.shared.store.read(|txn| {
            let mut rows = Vec::new();
            let place = (caller.namespace.as_str(), proxied.name());
            for row in txn.range(&SNAPSHOTS, place)? {
                let ((_, _, key), record) = row?;
                let Some(name) = txn.get(&NAMES, &(place.0, place.1, &*key))? else { continue };
                rows.push((record.info(key), name));
            }
            Ok::<_, Error>(rows)
        })?;
        let ask = |(info, name): (Info, String)| async move {
            match proxied.backend().stat(&caller.namespace, &name).await {
                Ok(there) => Ok(Some(over(there, info))),
                Err(error) if error.code() == Code::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        let asked = stream::iter(rows.into_iter().map(ask)).buffered(AT_ONCE);
        let found: Vec<Option<Info>> = asked.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    pub(in crate::snapshots) async fn mounts_proxied(
        &self,
        proxied: &Proxied,
        caller: &Caller,
        key: &str,
    ) -> Result<Vec<Mount>, Error> {
        let (_, name) = self.found(caller, proxied.name(), key)?;
        proxied.backend().mounts(&caller.namespace, &name).await
    }

    pub(in crate::snapshots) async fn usage_proxied(
        &self,
        proxied: &Proxied,
        caller: &Caller,
        key: &str,
    ) -> Result<Usage, Error> {
        let (_, name) = self.found(caller, proxied.name(), key)?;
        proxied.backend().usage(&caller.namespace, &name).await
    }

    pub(in crate::snapshots) async fn update_proxied(
        &self,
        proxied: &Proxied,
        caller: &Caller,
        key: &str,
        new: Labels,
        changes: Vec<LabelChange>,
    ) -> Result<Info, Error> {
        let _lock = proxied.lock(&caller.namespace, key).await;
        let (record, name) = self.found(caller, proxied.name(), key)?;
        let mut labels = record.labels;
        apply_labels(&mut labels, &new, &changes);
        validate_labels(&labels).map_err(Error::Labels)?;
        let paths = changes.iter().map(LabelChange::path).collect();
        // The backend first: what it refuses is not recorded.
        let passed = inherited(&labels);
        let there = proxied.backend().update(&caller.namespace, &name, passed, paths).await?;
        // Not before: no collection waits for a backend.
        let entered = self.shared.enter(caller.namespace.as_str(), &new).await?;
        let namespace = caller.namespace.as_str().to_owned();
        let (snapshotter, key) = (proxied.name(), key.to_owned());
        let shared = Arc::clone(&self.shared);
        let update = move |txn: &Write| {
            let _until_committed = &entered;
            let place = (&*namespace, snapshotter, &*key);
            let missing = || Error::missing_snapshot(&key);
            let mut record = txn.get(&SNAPSHOTS, &place)?.ok_or_else(missing)?;
            shared.epochs.touch((namespace.clone(), node_kind(snapshotter), key.clone()));
            (record.labels, record.updated) = (labels.clone(), Moment::now());
            txn.put(&SNAPSHOTS, &place, &record)?;
            Ok::<_, Error>(record.info(key.clone()))
        };
        Ok(over(there, self.shared.store.commit("update snapshot", update).await?))
    }
}

/// What is recorded here over what the backend knows: its kind and further labels.
fn over(there: Info, mut here: Info) -> Info {
    here.kind = there.kind;
    for (key, value) in there.labels {
        here.labels.entry(key).or_insert(value);
    }
    here
}
