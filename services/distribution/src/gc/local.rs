//! This service's own part of the graph: what it has, and the dropping of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use berth_ids::{Digest, Namespace};

use super::epoch::Epoch;
use super::graph::Below;
use super::id::{CONTENT, IMAGES, INGESTS, Id, LEASES, STREAMS};
use super::labels;
use super::node::Node;
use crate::content::Content;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::records;
use crate::scope::Scope;
use crate::shared::Shared;

/// Whether a kind is one of this service's.
#[must_use]
pub fn owns(kind: &str) -> bool {
    matches!(kind, CONTENT | INGESTS | IMAGES | LEASES | STREAMS)
}

/// All nodes, from one consistent read.
///
/// # Errors
/// [`Error::Store`].
pub async fn nodes(shared: &Arc<Shared>) -> Result<Vec<Node>> {
    shared.blocking("read references", |shared| shared.store.read(|txn| read(shared, txn))).await
}

fn read(shared: &Shared, txn: &berth_store::Read) -> Result<Vec<Node>> {
    let now = SystemTime::now();
    let mut nodes = Vec::new();
    let mut leases: HashMap<(String, String), usize> = HashMap::new();
    for record in txn.range(&records::LEASES, ())? {
        let ((namespace, id), lease) = record?;
        leases.insert((namespace.clone(), id.clone()), nodes.len());
        let mut node = Node::new(Id::new(&namespace.parse()?, LEASES, id));
        node.root = !labels::expired(&lease.labels, now);
        node.flat = labels::flat(&lease.labels);
        // Neighbours name a lease's rows by its incarnation.
        let rows = format!("{}@{}", node.id.key, lease.incarnation);
        node.refs.push(Id::new(&node.id.namespace, LEASES, rows));
        nodes.push(node);
    }
    for record in txn.range(&records::HOLDS, ())? {
        let ((namespace, lease, _), hold) = record?;
        if let Some(at) = leases.get(&(namespace, lease)) {
            let id = Id::new(&nodes[*at].id.namespace, hold.kind, hold.id);
            nodes[*at].refs.push(id);
        }
    }
    for record in txn.range(&records::IMAGES, ())? {
        let ((namespace, name), image) = record?;
        let namespace: Namespace = namespace.parse()?;
        let mut node = Node::new(Id::new(&namespace, IMAGES, name));
        labels::apply(&mut node, &image.labels);
        node.root = !labels::expired(&image.labels, now);
        let target = Id::new(&namespace, CONTENT, image.target.digest.as_str());
        node.structure.push(target.clone());
        node.refs.push(target);
        nodes.push(node);
    }
    for record in txn.range(&records::CONTENT, ())? {
        let ((namespace, digest), blob) = record?;
        let mut node = Node::new(Id::new(&namespace.parse()?, CONTENT, digest));
        labels::apply(&mut node, &blob.labels);
        nodes.push(node);
    }
    for ingest in shared.ingests.list(|_| true) {
        let mut node = Node::new(Id::new(ingest.namespace(), INGESTS, ingest.reference()));
        let leases = ingest.leases();
        node.root = ingest.is_open() || (leases.is_empty() && !ingest.is_stale(now));
        let leases = leases.into_iter().map(|lease| Id::new(ingest.namespace(), LEASES, lease));
        node.kept_by.extend(leases);
        nodes.push(node);
    }
    nodes.extend(shared.streams.nodes());
    Ok(nodes)
}

/// Drops a batch of dead nodes, whole: first those that were touched are spared, with what they
/// refer to in `below`. Answers what was spared. A failure with one thing leaves none of the others
/// half gone.
///
/// # Errors
/// [`Error::Store`], [`Error::Io`]: the first of them.
pub async fn sweep(
    shared: &Arc<Shared>,
    epoch: &Arc<Epoch>,
    batch: Vec<Id>,
    below: Arc<Below>,
) -> Result<Swept> {
    let guard = epoch.clone();
    let dropped = shared.store.commit("gc.sweep", move |txn| {
        let spared = spared(&guard, &batch, &below);
        let mut dropped = Vec::new();
        for id in batch.iter().filter(|id| !spared.contains(*id)) {
            if drop_record(txn, id)? {
                dropped.push(id.clone());
            }
        }
        Ok::<_, Error>((dropped, spared))
    });
    let (mut dropped, mut spared) = dropped.await?;
    let (mut failed, mut bytes) = (None, 0);
    sweep_streams(shared, epoch, &mut dropped, &mut spared);
    note(&mut failed, sweep_ingests(shared, epoch, &mut dropped, &mut spared).await);
    for id in &dropped {
        bytes += note(&mut failed, finish(shared, id).await);
    }
    failed.map_or(Ok(Swept { dropped, spared, bytes }), Err)
}

/// Keeps the first failure, and logs each.
fn note<T: Default>(first: &mut Option<Error>, done: Result<T>) -> T {
    done.unwrap_or_else(|error| {
        tracing::warn!(error = berth_errors::chain(&error), "finish a removal");
        first.get_or_insert(error);
        T::default()
    })
}

/// Counts a thing as in use, on the writer's thread: a sweep has looked either before, then the thing
/// is gone for everybody once this is answered, or looks afterwards. So counts what it keeps alive, if a
/// flat lease alone had kept it, and the owners of that are told unless the thing is pinned `alone`.
///
/// # Errors
/// [`Error::Store`], [`Error::Neighbour`].
pub async fn pin(shared: &Arc<Shared>, id: Id, alone: bool) -> Result<()> {
    let pinned = shared.clone();
    let pin = move |_: &berth_store::Write| {
        let whole = pinned.epochs.touch(id.clone());
        for id in whole.things() {
            pinned.epochs.touch(id.clone());
        }
        Ok::<_, Error>(whole)
    };
    let whole = shared.store.commit("gc.pin", pin).await?;
    if !alone {
        for id in whole.things() {
            shared.pin(id, true).await?;
        }
        whole.told();
    }
    Ok(())
}

/// What a sweep of a batch did.
#[derive(Default)]
pub struct Swept {
    /// Gone.
    pub dropped: Vec<Id>,
    /// Touched, or referred to by what was touched.
    pub spared: HashSet<Id>,
    /// Bytes of files that went.
    pub bytes: u64,
}

/// The touched ones of a batch, and all of it that they refer to.
fn spared(epoch: &Epoch, batch: &[Id], below: &Below) -> HashSet<Id> {
    let inside: HashSet<&Id> = batch.iter().collect();
    let mut queue: Vec<Id> = batch.iter().filter(|id| epoch.is_touched(id)).cloned().collect();
    let mut reached = HashSet::new();
    while let Some(id) = queue.pop() {
        let next = below.get(&id).into_iter().flatten().filter(|id| inside.contains(id));
        queue.extend(next.filter(|id| !reached.contains(*id)).cloned());
        reached.insert(id);
    }
    reached
}

fn drop_record(txn: &berth_store::Write, id: &Id) -> Result<bool> {
    let key = (id.namespace.as_str(), id.key.as_str());
    match id.kind.as_str() {
        CONTENT => records::drop_blob(txn, key.0, key.1),
        IMAGES => Ok(txn.delete(&records::IMAGES, &key)?),
        LEASES => records::drop_lease(txn, key.0, key.1),
        // Not in the store.
        INGESTS | STREAMS => Ok(true),
        _ => Ok(false),
    }
}

fn sweep_streams(
    shared: &Arc<Shared>,
    epoch: &Arc<Epoch>,
    dropped: &mut Vec<Id>,
    spared: &mut HashSet<Id>,
) {
    dropped.retain(|id| {
        let goes = id.kind != STREAMS || shared.streams.end(id, || epoch.is_touched(id));
        if !goes {
            spared.insert(id.clone());
        }
        goes
    });
}

async fn sweep_ingests(
    shared: &Arc<Shared>,
    epoch: &Arc<Epoch>,
    dropped: &mut Vec<Id>,
    spared: &mut HashSet<Id>,
) -> Result<()> {
    let (ingests, rest): (Vec<_>, Vec<_>) =
        std::mem::take(dropped).into_iter().partition(|id| id.kind == INGESTS);
    *dropped = rest;
    let mut failed = None;
    for id in ingests {
        let Ok(ingest) = shared.ingests.get(&id.namespace, &id.key) else { continue };
        if shared.ingests.remove_idle(&ingest, || epoch.is_touched(&id)) {
            note(&mut failed, Content(shared.clone()).discard(&ingest).await);
            dropped.push(id);
        } else {
            spared.insert(id);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// After its record is gone: the event, and the file of a blob.
async fn finish(shared: &Arc<Shared>, id: &Id) -> Result<u64> {
    let scope = Scope::new(id.namespace.clone());
    match id.kind.as_str() {
        IMAGES => shared.tell(&scope, &Event::ImageDeleted { name: id.key.clone() }),
        CONTENT => {
            let digest: Digest = id.key.parse()?;
            // Without an event: containerd tells of deleted content only if a client deleted it.
            let path = shared.files.blob(&digest);
            let size = fs_err::metadata(&path).map_or(0, |data| data.len());
            Content(shared.clone()).reclaim(&digest).await?;
            return Ok(if path.exists() { 0 } else { size });
        }
        _ => {}
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use berth_ids::Namespace;

    use super::super::epoch::Epochs;
    use super::*;

    #[test]
    fn a_touched_thing_spares_what_it_refers_to() {
        let namespace: Namespace = "n".parse().unwrap();
        let id = |key: &str| Id::new(&namespace, CONTENT, key);
        let below = [
            (id("held"), vec![id("part")]),
            (id("part"), vec![id("child"), id("later")]),
            (id("later"), vec![id("other")]),
        ];
        let below = Below::from(below);
        let batch = [id("held"), id("part"), id("child"), id("other")];
        let epoch = Epochs::default().open(1);
        assert!(spared(&epoch, &batch, &below).is_empty());
        assert!(epoch.touch(id("held")).things().is_empty());
        assert_eq!(spared(&epoch, &batch, &below), [id("held"), id("part"), id("child")].into());
    }
}
