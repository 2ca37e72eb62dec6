//! Bundle's part of a sweep: drops what a collection found dead, in one transaction.
//!
//! Owns: what of the dead is spared. Must not know: who found it dead, how a node of each kind is
//! dropped.
//!
//! Invariant: what was used since the epoch began stays, with all of the dead that it refers to:
//! whoever came to rely on it relies on the whole of it.

use std::collections::{HashMap, HashSet};

use berth_store::Write;

use crate::Error;
use crate::gc::{Dropped, NodeKey};
use crate::mounts::{self, Activations, KIND};
use crate::snapshots::{self, Node, Snapshots};

type Epoch = berth_epochs::Epoch<NodeKey>;

/// What lost its record.
#[derive(Default)]
struct Swept {
    mounts: Vec<Dropped>,
    rows: Vec<NodeKey>,
    snapshots: Vec<Dropped>,
}

/// Drops those of `dead` that are not spared. Answers which were dropped.
///
/// # Errors
/// [`Error::Epoch`] unless this epoch is open, [`Error::Store`].
pub async fn sweep(
    snapshots: &Snapshots,
    activations: &Activations,
    number: u64,
    dead: Vec<NodeKey>,
) -> Result<Vec<NodeKey>, Error> {
    let shared = snapshots.shared();
    let store = shared.store.clone();
    let work = move |txn: &Write| {
        // Here, behind whatever was pinned and before whatever will be, is it known to be open.
        let epoch = shared.epochs.opened(number).ok_or(Error::Epoch(number))?;
        drop_dead(txn, &epoch, &dead)
    };
    let Swept { mounts, rows, snapshots: gone } = store.commit("sweep", work).await?;
    let nodes = mounts.iter().chain(&gone).map(|(node, _)| node.clone());
    let nodes = nodes.chain(rows).collect();
    activations.swept(mounts).await;
    snapshots.swept(gone)?;
    Ok(nodes)
}

fn drop_dead(txn: &Write, epoch: &Epoch, dead: &[NodeKey]) -> Result<Swept, Error> {
    let spared = spared(txn, epoch, dead)?;
    let left = dead.iter().filter(|node| !spared.contains(*node)).cloned();
    let (mounts, left): (Vec<_>, Vec<_>) = left.partition(|node| node.1 == KIND);
    // First the rows: an activation goes with its own, and rows that are not there were not dropped.
    let rows = snapshots::drop_rows(txn, &left)?;
    let mounts = mounts::drop_dead(txn, &mounts)?;
    Ok(Swept { mounts, rows, snapshots: snapshots::drop_dead(txn, &left)? })
}

/// The touched ones of the dead and all of the dead that they keep alive.
fn spared(txn: &Write, epoch: &Epoch, dead: &[NodeKey]) -> Result<HashSet<NodeKey>, Error> {
    let mut queue: Vec<NodeKey> =
        dead.iter().filter(|node| epoch.is_touched(node)).cloned().collect();
    if queue.is_empty() {
        return Ok(HashSet::new());
    }
    let keeps = edges(txn, dead)?;
    let mut spared = HashSet::new();
    while let Some(node) = queue.pop() {
        let kept = keeps.get(&node).into_iter().flatten();
        queue.extend(kept.filter(|kept| !spared.contains(*kept)).cloned());
        spared.insert(node);
    }
    Ok(spared)
}

/// What the dead keep alive, also by what those say that are kept.
fn edges(txn: &Write, dead: &[NodeKey]) -> Result<HashMap<NodeKey, Vec<NodeKey>>, Error> {
    let mut keeps: HashMap<NodeKey, Vec<NodeKey>> = HashMap::new();
    for key in dead {
        let found = match key.1 == KIND {
            true => mounts::node_now(txn, key)?,
            false => snapshots::node_now(txn, key)?,
        };
        let Some(Node { key, refs, kept_by, .. }) = found else { continue };
        let near = |(kind, name): (String, String)| (key.0.clone(), kind, name);
        for keeper in kept_by.into_iter().map(near) {
            keeps.entry(keeper).or_default().push(key.clone());
        }
        let refs = refs.into_iter().map(near).collect::<Vec<_>>();
        keeps.entry(key).or_default().extend(refs);
    }
    Ok(keeps)
}
