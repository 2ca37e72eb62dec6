//! Prepare and View at a backend.

use std::sync::Arc;

use berth_errors::{Code, Coded};
use berth_mount::Mount;
use berth_store::Write;

use super::rows::{MADE, Made, NAMES, refer};
use super::{Proxied, inherited, name_of};
use crate::Error;
use crate::snapshots::create::{New, Outcome};
use crate::snapshots::records::SNAPSHOTS;
use crate::snapshots::{Change, Entered, Info, Kind, REF_LABEL, Shared, Snapshots};

/// What is known before the backend is asked.
enum Reserved {
    /// Something of that name is there; the lease holds it now.
    Exists(Error),
    /// The parent's name at the backend, or empty.
    On(String),
}

impl Snapshots {
    /// Makes a snapshot at a backend.
    pub(in crate::snapshots) async fn create_proxied(
        &self,
        proxied: &Proxied,
        new: New,
        entered: Entered,
    ) -> Result<Vec<Mount>, Error> {
        let namespace = new.caller.namespace.clone();
        let name = name_of(&namespace, new.id, &new.key);
        let busy = proxied.busy(&name);
        let target = new.labels.get(REF_LABEL).cloned();
        let _adopting = match &target {
            Some(_) => Some(proxied.adopting.read().await),
            None => None,
        };
        let parent = match self.reserve(&new, &name).await? {
            Reserved::Exists(error) => return Err(error),
            Reserved::On(parent) => parent,
        };
        let labels = inherited(&new.labels);
        // Nothing refers to what the labels name before the backend has answered, and no
        // collection waits for it: what it makes is kept by its row.
        drop(entered);
        let since = std::time::SystemTime::now();
        let made = proxied.backend().create(&namespace, new.kind, &name, &parent, labels).await;
        let mounts = match made {
            Ok(mounts) => mounts,
            Err(error) if error.code() == Code::AlreadyExists => {
                // Whatever is there of this name is nothing that was made just now.
                self.disown(new.snapshotter, &name).await?;
                let Some(target) = target else {
                    return Err(error.unexpected_there());
                };
                let found = find_target(proxied, &new, &target, &parent).await?;
                return Err(self.adopt(new, target, parent, found, since).await);
            }
            Err(error) => {
                self.settle(new.snapshotter, &name, &error).await?;
                return Err(error);
            }
        };
        let entered = self.shared.enter(namespace.as_str(), &new.labels).await?;
        let (shared, asked) = (Arc::clone(&self.shared), new.clone());
        let insert = move |txn: &Write| {
            let _until_committed = (&entered, &busy);
            let outcome = shared.insert(txn, &asked)?;
            if matches!(outcome, Outcome::Made) {
                let place = (asked.caller.namespace.as_str(), asked.snapshotter, &*asked.key);
                refer(txn, place, &name)?;
            }
            Ok::<_, Error>(outcome)
        };
        if let Outcome::Exists(kind, name) =
            self.shared.store.commit("create snapshot", insert).await?
        {
            return Err(Error::Exists { kind, name });
        }
        if new.kind == Kind::Active {
            let change = Change::Prepared { key: new.key, parent: new.parent };
            self.tell(&namespace, new.snapshotter, change);
        }
        Ok(mounts)
    }

    async fn reserve(&self, new: &New, name: &str) -> Result<Reserved, Error> {
        let (shared, new, name) = (Arc::clone(&self.shared), new.clone(), name.to_owned());
        let reserve = move |txn: &Write| {
            let namespace = new.caller.namespace.as_str();
            shared.fences.check(namespace)?;
            if let Some(Outcome::Exists(kind, name)) = shared.present(txn, &new)? {
                return Ok(Reserved::Exists(Error::Exists { kind, name }));
            }
            let parent = name_at(txn, namespace, new.snapshotter, &new.parent)?;
            let made = Made::about_to_be(&new.caller.namespace, new.id);
            txn.put(&MADE, &(new.snapshotter, &*name), &made)?;
            Ok::<_, Error>(Reserved::On(parent))
        };
        self.shared.store.commit("reserve snapshot", reserve).await
    }

    /// Drops the row of what turned out not to be ours, or is gone.
    pub(super) async fn disown(&self, snapshotter: &'static str, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        let disown = move |txn: &Write| {
            let row = (snapshotter, &*name);
            // Somebody may refer to it by now.
            if txn.get(&MADE, &row)?.is_some_and(|made| made.users == 0) {
                txn.delete(&MADE, &row)?;
            }
            Ok::<_, Error>(())
        };
        self.shared.store.commit("forget name", disown).await
    }

    /// Records that the backend has refused to make what a row is about, if it has: after another
    /// failure it may make it yet.
    pub(super) async fn settle(
        &self,
        snapshotter: &'static str,
        name: &str,
        error: &Error,
    ) -> Result<(), Error> {
        match is_refusal(error) {
            true => self.disown(snapshotter, name).await,
            false => Ok(()),
        }
    }

    /// Takes over the snapshot that the backend has in place of the one that was to be prepared.
    /// Answers what the caller is told.
    async fn adopt(
        &self,
        new: New,
        target: String,
        parent: String,
        found: Info,
        since: std::time::SystemTime,
    ) -> Error {
        let entered = match self.shared.enter(new.caller.namespace.as_str(), &new.labels).await {
            Ok(entered) => entered,
            Err(error) => return error,
        };
        let shared = Arc::clone(&self.shared);
        let told = Error::ExistsThere { name: target.clone() };
        let insert = move |txn: &Write| {
            let _until_committed = &entered;
            let snapshotter = new.snapshotter;
            let place = (new.caller.namespace.as_str(), snapshotter, &*target);
            let ours = txn.get(&MADE, &(snapshotter, &*found.name))?.is_some();
            // One that is older than the call was made by somebody else, whose it stays.
            if !ours && found.created >= since {
                let number = shared.new_id();
                let made = Made::about_to_be(&new.caller.namespace, number);
                txn.put(&MADE, &(snapshotter, &*found.name), &made)?;
            }
            if name_at(txn, place.0, snapshotter, &new.parent)? != parent {
                let reason = "the snapshotter has it on another parent";
                return Err(Error::Argument { what: "target", value: target.clone(), reason });
            }
            let adopted =
                New { kind: Kind::Committed, key: target.clone(), ..new.adopting(&found) };
            if matches!(shared.insert(txn, &adopted)?, Outcome::Made) {
                refer(txn, place, &found.name)?;
            }
            Ok(())
        };
        let adopted = self.shared.store.commit("adopt snapshot", insert).await;
        adopted.err().unwrap_or(told)
    }
}

impl New {
    /// The same with labels that the backend has, where the caller has none.
    fn adopting(&self, found: &Info) -> Self {
        let mut new = self.clone();
        for (key, value) in &found.labels {
            new.labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        new
    }
}

impl Shared {
    /// What a backend calls a snapshot.
    pub(super) fn name_there(
        &self,
        namespace: &str,
        snapshotter: &str,
        key: &str,
    ) -> Result<String, Error> {
        let place = (namespace, snapshotter, key);
        let found = self.store.read(|txn| txn.get(&NAMES, &place))?;
        found.ok_or_else(|| Error::missing_snapshot(key))
    }
}

/// What a backend calls a parent; nothing if there is none.
pub(super) fn name_at(
    txn: &Write,
    namespace: &str,
    snapshotter: &str,
    parent: &str,
) -> Result<String, Error> {
    if parent.is_empty() {
        return Ok(String::new());
    }
    let place = (namespace, snapshotter, parent);
    let record = txn.get(&SNAPSHOTS, &place)?.ok_or_else(|| Error::missing_parent(parent))?;
    if record.kind != Kind::Committed {
        return Err(crate::snapshots::read::not_committed(parent));
    }
    txn.get(&NAMES, &place)?.ok_or_else(|| Error::missing_parent(parent))
}

/// The snapshot that the backend means by a target that it has.
async fn find_target(
    proxied: &Proxied,
    new: &New,
    target: &str,
    parent: &str,
) -> Result<Info, Error> {
    let filter = format!("labels.{REF_LABEL:?}=={target:?},parent=={parent:?}");
    let found = proxied.backend().list(&new.caller.namespace, filter).await?;
    // Some do not look at the filter.
    let fits = |info: &Info| {
        info.kind == Kind::Committed
            && info.parent == parent
            && info.labels.get(REF_LABEL).is_some_and(|label| label == target)
    };
    found.into_iter().find(fits).ok_or_else(|| Error::NoTarget { name: target.to_owned() })
}

/// Whether a backend has said that it will not do it.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::OutOfRange
            | Code::Unauthenticated
    )
}

#[cfg(test)]
mod tests {
    use berth_ids::Labels;

    use super::*;

    #[test]
    fn only_snapshot_labels_are_passed_on() {
        let labels: Labels = [
            ("containerd.io/snapshot.ref", "a"),
            ("containerd.io/snapshot/remote/x", "b"),
            ("containerd.io/gc.root", "c"),
            ("own", "d"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let passed: Vec<_> = inherited(&labels).into_values().collect();
        assert_eq!(passed, ["a", "b"]);
    }
}
