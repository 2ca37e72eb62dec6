//! Commit at a backend.
//!
//! The name that an active snapshot is about to get is recorded before the backend is asked. A
//! commit whose answer was lost is then found to have been carried out by the one that is tried
//! after it, instead of leaving a snapshot that cannot be used any more.

use std::sync::Arc;

use berth_errors::{Code, Coded};
use berth_store::Write;

use super::create::{is_refusal, name_at};
use super::rows::{MADE, Made, NAMES, forget, refer};
use super::{Proxied, inherited, name_of};
use crate::Error;
use crate::snapshots::commit::{Naming, not_active};
use crate::snapshots::records::SNAPSHOTS;
use crate::snapshots::{Change, Kind, Snapshots};

/// What is to be committed at the backend.
pub(super) struct Asked {
    /// Its name there.
    pub from: String,
    /// The name that it is to have.
    pub to: String,
    /// The parent that it is to be put on, if it has none.
    pub parent: String,
    /// An earlier commit to that name may have been carried out.
    pub again: bool,
}

impl Snapshots {
    /// Commits the active snapshot `key` at a backend.
    pub(in crate::snapshots) async fn commit_proxied(
        &self,
        proxied: &Proxied,
        naming: Naming,
        key: &str,
    ) -> Result<(), Error> {
        let namespace = naming.caller.namespace.clone();
        let _lock = proxied.lock(&namespace, key).await;
        let naming = Arc::new(naming.left());
        let number = self.shared.new_id();
        let fresh = name_of(&namespace, number, &naming.name);
        // The fresh name may turn out not to be needed.
        let busy = proxied.busy(&fresh);
        let taken = || Error::Exists { kind: "snapshot", name: naming.name.clone() };
        let Some(asked) = self.reserve_commit(&naming, key, number, fresh).await? else {
            return Err(taken());
        };
        let committed = commit_there(proxied, &naming, &asked).await;
        if let Err(error) = committed {
            if asked.again || !(is_refusal(&error) || error.code() == Code::AlreadyExists) {
                return Err(error);
            }
            self.withdraw(naming.snapshotter, &asked).await?;
            return Err(not_ours(proxied, &asked.to, error));
        }
        let entered = self.shared.enter(namespace.as_str(), &naming.labels).await?;
        let (shared, from, key, finish) =
            (Arc::clone(&self.shared), asked.from.clone(), key.to_owned(), Arc::clone(&naming));
        let gone = key.clone();
        let finish = move |txn: &Write| {
            let _until_committed = (&busy, &entered);
            let (space, snapshotter) = (finish.caller.namespace.as_str(), finish.snapshotter);
            if !shared.finish(txn, &finish, &key, number, None)? {
                return Ok(false);
            }
            forget(txn, (space, snapshotter, &key))?;
            // The backend has it under the new name alone.
            txn.delete(&MADE, &(snapshotter, &*from))?;
            refer(txn, (space, snapshotter, &*finish.name), &asked.to)?;
            Ok::<_, Error>(true)
        };
        if !self.shared.store.commit("commit snapshot", finish).await? {
            return Err(taken());
        }
        let change = Change::Committed { key: gone, name: naming.name.clone() };
        self.tell(&namespace, naming.snapshotter, change);
        Ok(())
    }

    /// Records what is about to be committed as what. Nothing if the name is taken.
    async fn reserve_commit(
        &self,
        naming: &Arc<Naming>,
        key: &str,
        number: u64,
        fresh: String,
    ) -> Result<Option<Asked>, Error> {
        let (shared, naming, key) = (Arc::clone(&self.shared), Arc::clone(naming), key.to_owned());
        let reserve = move |txn: &Write| {
            if !shared.is_free(txn, &naming)? {
                return Ok(None);
            }
            let (namespace, snapshotter) = (naming.caller.namespace.as_str(), naming.snapshotter);
            let place = (namespace, snapshotter, &*key);
            let missing = || Error::missing_snapshot(&key);
            let active = txn.get(&SNAPSHOTS, &place)?.ok_or_else(missing)?;
            if active.kind != Kind::Active {
                return Err(not_active(&key));
            }
            let parent = match active.parent.is_empty() {
                true => name_at(txn, namespace, snapshotter, &naming.parent)?,
                false => String::new(),
            };
            let from = txn.get(&NAMES, &place)?.ok_or_else(missing)?;
            let about = Made::about_to_be(&naming.caller.namespace, number);
            let mut made = txn.get(&MADE, &(snapshotter, &*from))?.ok_or_else(missing)?;
            let again = made.becomes.is_some();
            let to = made.becomes.get_or_insert_with(|| fresh.clone()).clone();
            txn.put(&MADE, &(snapshotter, &*from), &made)?;
            if !again {
                txn.put(&MADE, &(snapshotter, &*to), &about)?;
            }
            Ok::<_, Error>(Some(Asked { from, to, parent, again }))
        };
        self.shared.store.commit("reserve commit", reserve).await
    }

    /// Records that the backend has refused a commit.
    async fn withdraw(&self, snapshotter: &'static str, asked: &Asked) -> Result<(), Error> {
        let (from, to) = (asked.from.clone(), asked.to.clone());
        let withdraw = move |txn: &Write| {
            txn.delete(&MADE, &(snapshotter, &*to))?;
            if let Some(mut made) = txn.get(&MADE, &(snapshotter, &*from))? {
                made.becomes = None;
                txn.put(&MADE, &(snapshotter, &*from), &made)?;
            }
            Ok::<_, Error>(())
        };
        self.shared.store.commit("withdraw commit", withdraw).await
    }
}

/// What is told of a refusal of a first commit. Whatever the backend has by a name that was new is
/// somebody else's, and not what the caller would take it for.
pub(super) fn not_ours(proxied: &Proxied, to: &str, error: Error) -> Error {
    if error.code() != Code::AlreadyExists {
        return error;
    }
    let name = proxied.name();
    let message = format!(
        "commit at snapshotter {name}: it has {to:?}, which was not committed here, remove it \
         there: {error}"
    );
    Error::Snapshotter { code: Code::Unknown, message }
}

/// Has the backend commit, or finds that it has.
pub(super) async fn commit_there(
    proxied: &Proxied,
    naming: &Naming,
    asked: &Asked,
) -> Result<(), Error> {
    let (namespace, labels) = (&naming.caller.namespace, inherited(&naming.labels));
    let backend = proxied.backend();
    let Asked { from, to, parent, again } = asked;
    match backend.commit(namespace, to, from, parent, labels).await {
        Err(error) if *again && matches!(error.code(), Code::NotFound | Code::AlreadyExists) => {
            match backend.stat(namespace, to).await {
                Ok(there) if there.kind == Kind::Committed => Ok(()),
                _ => Err(error),
            }
        }
        other => other,
    }
}
