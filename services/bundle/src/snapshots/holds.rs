//! What keeps snapshots: leases, pins, references; and how many there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_ids::Labels;
use berth_store::Write;

use super::records::{LEASES, LeaseRow, Record, SNAPSHOTS};
use super::{Caller, Shared, Snapshots, node_kind};
use crate::Error;
use crate::gc::NodeKey;

/// A node of the collector's graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Namespace, kind and key.
    pub key: NodeKey,
    /// Whether it is alive by itself.
    pub root: bool,
    /// What it refers to: kind and key.
    pub refs: Vec<(String, String)>,
    /// What it is kept by, without being referred to.
    pub kept_by: Vec<(String, String)>,
    /// Of `refs`, its parent.
    pub structure: Vec<(String, String)>,
    /// When it was used, as its labels say.
    pub used_at: Vec<String>,
    /// Whether it was used since the epoch began.
    pub touched: bool,
}

impl Node {
    /// One that refers to nothing.
    pub(crate) fn new(key: NodeKey) -> Self {
        let (refs, kept_by, structure) = (Vec::new(), Vec::new(), Vec::new());
        Self { key, root: false, refs, kept_by, structure, used_at: Vec::new(), touched: false }
    }
}

/// The kind of leases, whose rows are nodes here.
const LEASES_KIND: &str = "leases";
const ROOT_LABEL: &str = "containerd.io/gc.root";
const REF_LABEL: &str = "containerd.io/gc.ref.";
const BACK_LABEL: &str = "containerd.io/gc.bref.";
const USED_LABEL: &str = "containerd.io/gc.cond.value-usedat";

impl Snapshots {
    /// Every snapshot, and every lease with what it holds, as the collector sees them.
    ///
    /// Leases belong to distribution: the node of their rows here is named `LEASE@INCARNATION`,
    /// to which the lease itself refers, so that rows of an earlier life hold nothing.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn nodes(&self) -> Result<Vec<Node>, Error> {
        let epochs = &self.shared.epochs;
        self.shared.store.read(|txn| {
            let mut nodes = Vec::new();
            for row in txn.range(&SNAPSHOTS, ())? {
                let ((namespace, snapshotter, key), record) = row?;
                let key = (namespace, node_kind(&snapshotter), key);
                let touched = epochs.is_touched(&key);
                nodes.push(Node { touched, ..of_snapshot(key, record) });
            }
            let mut held: BTreeMap<NodeKey, Vec<(String, String)>> = BTreeMap::new();
            for row in txn.range(&LEASES, ())? {
                let ((namespace, lease, _), hold) = row?;
                let rows = rows_of(&namespace, &lease, hold.incarnation);
                held.entry(rows).or_default().push((hold.kind, hold.id));
            }
            let leases = held.into_iter();
            let node =
                |(key, refs)| Node { touched: epochs.is_touched(&key), ..of_rows(key, refs) };
            nodes.extend(leases.map(node));
            Ok(nodes)
        })
    }

    /// Keeps a node through the open collection, if it is there, and what it refers to unless it is to be
    /// kept `alone`.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Peer`].
    pub async fn pin(&self, node: NodeKey, alone: bool) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        // On the writer's thread: a sweep has looked at the touched names either before, then the
        // record is gone for everybody once this is answered, or looks afterwards.
        let pin = move |_: &Write| Ok::<_, Error>(shared.epochs.touch(node.clone()));
        let whole = self.shared.store.commit("pin node", pin).await?;
        if alone { Ok(()) } else { self.shared.rely_on_all(whole).await }
    }

    /// Records that a lease holds something, which need not be there yet.
    ///
    /// # Errors
    /// [`Error::State`] in a fenced namespace, [`Error::Store`].
    pub async fn add_hold(
        &self,
        namespace: String,
        lease: String,
        row: LeaseRow,
    ) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        // No epoch begins between what is told here of what it keeps and the row.
        let entered = self.shared.epochs.enter();
        self.shared.rely((namespace.clone(), row.kind.clone(), row.id.clone())).await?;
        let add = move |txn: &Write| {
            let _until_committed = &entered;
            shared.fences.check(&namespace)?;
            shared.record_hold(txn, &namespace, &lease, &row)
        };
        self.shared.store.commit("add lease resource", add).await
    }

    /// Lets the caller's lease hold a snapshot, if it is there; answers whether it is.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the snapshotter, [`Error::Store`].
    pub async fn hold_present(
        &self,
        caller: Caller,
        snapshotter: &str,
        key: &str,
    ) -> Result<bool, Error> {
        let snapshotter = self.resolve(snapshotter)?;
        let entered = self.shared.epochs.enter();
        self.shared.rely_on(caller.namespace.as_str(), snapshotter, key).await?;
        let (shared, key) = (Arc::clone(&self.shared), key.to_owned());
        let hold = move |txn: &Write| {
            let _until_committed = &entered;
            let place = (caller.namespace.as_str(), snapshotter, &*key);
            let present = txn.get(&SNAPSHOTS, &place)?.is_some();
            if present {
                shared.hold(txn, &caller, snapshotter, &key)?;
            }
            Ok(present)
        };
        self.shared.store.commit("hold snapshot", hold).await
    }

    /// Takes a lease's hold away; harmless if there is none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn remove_hold(
        &self,
        namespace: String,
        lease: String,
        row: LeaseRow,
    ) -> Result<(), Error> {
        let remove = move |txn: &Write| row.delete(txn, &namespace, &lease).map(drop);
        self.shared.store.commit("remove lease resource", remove).await
    }

    /// What a lease holds, of all its lives.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn holds(&self, namespace: &str, lease: &str) -> Result<Vec<LeaseRow>, Error> {
        self.shared.store.read(|txn| {
            let rows = txn.range(&LEASES, (namespace, lease))?;
            rows.map(|row| Ok(row?.1)).collect()
        })
    }

    /// Puts a fence around a namespace, or takes it down. When this returns, everything that was
    /// being made there is recorded or refused.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn fence(&self, namespace: &str, up: bool) -> Result<(), Error> {
        self.shared.fences.set(namespace, up);
        self.shared.store.commit("fence namespace", |_: &Write| Ok(())).await
    }

    /// How many snapshots a namespace has, by kind of node.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn counts(&self, namespace: &str) -> Result<BTreeMap<String, u64>, Error> {
        self.shared.store.read(|txn| {
            let mut counts = BTreeMap::new();
            for row in txn.range(&SNAPSHOTS, (namespace,))? {
                let ((_, snapshotter, _), _) = row?;
                *counts.entry(node_kind(&snapshotter)).or_default() += 1;
            }
            Ok(counts)
        })
    }
}

impl Shared {
    /// Records what a lease holds. Its rows are used then: a collection that has not seen the lease
    /// yet must not take them away.
    pub(crate) fn record_hold(
        &self,
        txn: &Write,
        namespace: &str,
        lease: &str,
        row: &LeaseRow,
    ) -> Result<(), Error> {
        self.epochs.touch(rows_of(namespace, lease, row.incarnation));
        row.put(txn, namespace, lease)
    }
}

/// A snapshot or the rows of a lease as they are now, inside a commit.
pub(crate) fn node_now(txn: &Write, key: &NodeKey) -> Result<Option<Node>, Error> {
    let (namespace, kind, name) = key;
    if let Some(snapshotter) = kind.strip_prefix("snapshots/") {
        let record = txn.get(&SNAPSHOTS, &(namespace, snapshotter, name))?;
        return Ok(record.map(|record| of_snapshot(key.clone(), record)));
    }
    let mut refs = Vec::new();
    for_rows(txn, key, |_, row| {
        refs.push((row.kind, row.id));
        Ok(())
    })?;
    Ok((!refs.is_empty()).then(|| of_rows(key.clone(), refs)))
}

/// Deletes those of the nodes that are rows of leases, inside a commit. Answers which were there.
pub(crate) fn drop_rows(txn: &Write, dead: &[NodeKey]) -> Result<Vec<NodeKey>, Error> {
    let mut dropped = Vec::new();
    for node in dead {
        let mut there = false;
        for_rows(txn, node, |place, _| {
            there |= txn.delete(&LEASES, place)?;
            Ok(())
        })?;
        dropped.extend(there.then(|| node.clone()));
    }
    Ok(dropped)
}

/// Hands each row of the lease that a node is named after to `each`; none if it is no such node.
fn for_rows(
    txn: &Write,
    node: &NodeKey,
    mut each: impl FnMut(&(String, String, String), LeaseRow) -> Result<(), Error>,
) -> Result<(), Error> {
    let (namespace, kind, name) = node;
    let named = name.rsplit_once('@').filter(|_| kind == LEASES_KIND);
    let Some((lease, incarnation)) = named else { return Ok(()) };
    for row in txn.range(&LEASES, (&**namespace, lease))? {
        let (place, row) = row?;
        if row.incarnation.to_string() == incarnation {
            each(&place, row)?;
        }
    }
    Ok(())
}

fn rows_of(namespace: &str, lease: &str, incarnation: u64) -> NodeKey {
    (namespace.to_owned(), LEASES_KIND.to_owned(), format!("{lease}@{incarnation}"))
}

fn of_rows(key: NodeKey, refs: Vec<(String, String)>) -> Node {
    Node { refs, ..Node::new(key) }
}

fn of_snapshot(key: NodeKey, record: Record) -> Node {
    let labels = &record.labels;
    let mut refs = references(labels);
    let kept_by = back_references(labels);
    let (root, used_at) = (is_root(labels), used_at(labels));
    let mut structure = Vec::new();
    if !record.parent.is_empty() {
        let parent = (key.1.clone(), record.parent);
        structure.push(parent.clone());
        refs.push(parent);
    }
    Node { root, refs, kept_by, structure, used_at, ..Node::new(key) }
}

/// Whatever follows: containerd looks at the beginning of this key, and of the next.
fn is_root(labels: &Labels) -> bool {
    labels.keys().any(|label| label.starts_with(ROOT_LABEL))
}

fn used_at(labels: &Labels) -> Vec<String> {
    let used = labels.iter().filter(|(label, _)| label.starts_with(USED_LABEL));
    used.map(|(_, value)| value.clone()).collect()
}

/// What labels refer to: `gc.ref.content`, `gc.ref.snapshot.NAME`, `gc.ref.image`, `gc.ref.mount`,
/// `gc.ref.stream`, each maybe with more behind a dot or slash.
pub(crate) fn references(labels: &Labels) -> Vec<(String, String)> {
    targets(labels, REF_LABEL).filter(|(kind, _)| kind != "containers").collect()
}

/// What labels name as keeping the object: `gc.bref.` with the same but for mounts and streams, and
/// `gc.bref.container`.
pub(crate) fn back_references(labels: &Labels) -> Vec<(String, String)> {
    let no_keepers = |kind: &str| matches!(kind, "mounts" | "streams");
    targets(labels, BACK_LABEL).filter(|(kind, _)| !no_keepers(kind)).collect()
}

fn targets<'a>(labels: &'a Labels, prefix: &'a str) -> impl Iterator<Item = (String, String)> + 'a {
    labels.iter().filter_map(move |(label, value)| {
        Some((target_kind(label.strip_prefix(prefix)?)?, value.clone()))
    })
}

fn target_kind(what: &str) -> Option<String> {
    if let Some(rest) = what.strip_prefix("snapshot.") {
        return Some(node_kind(rest.split('/').next().unwrap_or(rest)));
    }
    let kind = match what.split(['.', '/']).next()? {
        "content" => "content",
        "image" => "images",
        "container" => "containers",
        "mount" => "mounts",
        "stream" => "streams",
        _ => return None,
    };
    Some(kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_refer_as_containerd_has_it() {
        let labels: Labels = [
            ("containerd.io/gc.ref.content", "a"),
            ("containerd.io/gc.ref.content.l.0", "b"),
            ("containerd.io/gc.ref.contents", "x"),
            ("containerd.io/gc.ref.snapshot.overlayfs/1", "c"),
            ("containerd.io/gc.ref.image", "d"),
            ("containerd.io/gc.bref.mount", "no"),
            ("containerd.io/gc.bref.stream", "no"),
            ("other", "y"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        assert_eq!(back_references(&labels), []);
        let expected =
            [("content", "a"), ("content", "b"), ("images", "d"), ("snapshots/overlayfs", "c")];
        let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(references(&labels), expected);
    }

    #[test]
    fn roots_and_uses_go_by_the_beginning_of_a_key() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        assert!(is_root(&labels(&[("containerd.io/gc.root/why", "1")])));
        assert!(!is_root(&labels(&[("containerd.io/gc.roo", "1"), ("x", "y")])));
        let used = labels(&[
            ("containerd.io/gc.cond.value", "no"),
            ("containerd.io/gc.cond.value-usedat", "2026-01-01T00:00:00Z"),
            ("containerd.io/gc.cond.value-usedat.2", "2027-01-01T00:00:00Z"),
        ]);
        assert_eq!(used_at(&used), ["2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"]);
    }
}
