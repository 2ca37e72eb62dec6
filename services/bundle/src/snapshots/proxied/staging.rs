//! Layers that are extracted at a backend: each into an active snapshot, through its mounts.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use berth_errors::{Code, Coded};
use berth_ids::Labels;
use berth_store::Write;

use super::commit::{Asked, commit_there, not_ours};
use super::create::{is_refusal, name_at};
use super::rows::{MADE, Made, refer};
use super::{Busy, Proxied, name_of};
use crate::Error;
use crate::diff::{Apply, extract};
use crate::layer::{Applied, Limits};
use crate::snapshots::commit::Naming;
use crate::snapshots::create::adopt_child;
use crate::snapshots::records::SNAPSHOTS;
use crate::snapshots::{Change, Kind, Snapshots, StagedLayer, blocking};

/// A layer in an active snapshot that no record names. It is removed when this is dropped.
pub(in crate::snapshots) struct Extracted {
    name: String,
    _busy: Busy,
}

impl Snapshots {
    /// Extracts a layer into a new snapshot on the layer's parent, which `finish` is given. A
    /// caller that gives up frees neither the name nor the snapshot while it is written to.
    pub(in crate::snapshots) async fn extract_proxied(
        &self,
        proxied: &Proxied,
        layer: &StagedLayer,
        input: impl Read + Send + 'static,
        limits: Limits,
        finish: impl FnOnce(Extracted) + Send + 'static,
    ) -> Result<Applied, Error> {
        let namespace = layer.caller.namespace.clone();
        let (number, snapshotter) = (self.shared.new_id(), proxied.name());
        let name = name_of(&namespace, number, &layer.staging);
        let busy = proxied.busy(&name);
        let (space, above, below) = (namespace.clone(), name.clone(), layer.parent.clone());
        let reserve = move |txn: &Write| {
            let parent = name_at(txn, space.as_str(), snapshotter, &below)?;
            txn.put(&MADE, &(snapshotter, &*above), &Made::about_to_be(&space, number))?;
            Ok::<_, Error>(parent)
        };
        let parent = self.shared.store.commit("reserve layer", reserve).await?;
        let (kind, labels) = (Kind::Active, Labels::new());
        let made = proxied.backend().create(&namespace, kind, &name, &parent, labels);
        let mounts = match made.await {
            Ok(mounts) => mounts,
            Err(error) => {
                self.settle(snapshotter, &name, &error).await?;
                return Err(error);
            }
        };
        let apply = Apply {
            layer: layer.name().to_owned(),
            mounts,
            temporary: proxied.temporary.clone(),
            // Files that its mounts ask for may be made where it says that its own are.
            roots: proxied.proxy.exports.get("root").map(PathBuf::from).into_iter().collect(),
            limits,
        };
        let extracted = Extracted { name, _busy: busy };
        // Not before: the backend takes the time that it takes.
        let turn = self.shared.turns.take().await;
        blocking("apply layer", move || {
            // All of them here, also when it fails.
            let (extracted, finish, _turn) = (extracted, finish, turn);
            let applied = extract(&apply, input)?;
            finish(extracted);
            Ok(applied)
        })
        .await
    }

    /// Commits what was extracted as the snapshot that `naming` names.
    pub(in crate::snapshots) async fn commit_extracted(
        &self,
        proxied: &Proxied,
        naming: Naming,
        staging: String,
        extracted: Extracted,
    ) -> Result<(), Error> {
        let (namespace, snapshotter) = (naming.caller.namespace.clone(), naming.snapshotter);
        let naming = Arc::new(naming.left());
        let number = self.shared.new_id();
        let to = name_of(&namespace, number, &naming.name);
        let busy = proxied.busy(&to);
        let taken = || Error::Exists { kind: "snapshot", name: naming.name.clone() };
        let (shared, asked, above) = (Arc::clone(&self.shared), Arc::clone(&naming), to.clone());
        let reserve = move |txn: &Write| {
            let free = shared.is_free(txn, &asked)?;
            if free {
                let made = Made::about_to_be(&asked.caller.namespace, number);
                txn.put(&MADE, &(snapshotter, &*above), &made)?;
            }
            Ok::<_, Error>(free)
        };
        if !self.shared.store.commit("reserve commit", reserve).await? {
            return Err(taken());
        }
        let (from, parent) = (extracted.name.clone(), String::new());
        let asked = Asked { from, to, parent, again: false };
        if let Err(error) = commit_there(proxied, &naming, &asked).await {
            if is_refusal(&error) || error.code() == Code::AlreadyExists {
                self.disown(snapshotter, &asked.to).await?;
            }
            return Err(not_ours(proxied, &asked.to, error));
        }
        let entered = self.shared.enter(namespace.as_str(), &naming.labels).await?;
        let (shared, finish) = (Arc::clone(&self.shared), Arc::clone(&naming));
        let insert = move |txn: &Write| {
            let _until_committed = (&busy, &extracted, &entered);
            if !shared.is_free(txn, &finish)? {
                return Ok(false);
            }
            let space = finish.caller.namespace.as_str();
            let place = (space, snapshotter, &*finish.name);
            adopt_child(txn, space, snapshotter, &finish.parent)?;
            txn.put(&SNAPSHOTS, &place, &finish.record(number, None))?;
            txn.delete(&MADE, &(snapshotter, &*asked.from))?;
            refer(txn, place, &asked.to)?;
            Ok::<_, Error>(true)
        };
        if !self.shared.store.commit("commit layer", insert).await? {
            return Err(taken());
        }
        let change = Change::Committed { key: staging, name: naming.name.clone() };
        self.tell(&namespace, snapshotter, change);
        Ok(())
    }
}
