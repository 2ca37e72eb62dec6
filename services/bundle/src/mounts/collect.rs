//! Activations in collections: alive while a lease holds them, something refers to them, or what
//! they are for (`containerd.io/gc.bref.*`) is alive.

use berth_store::Write;

use super::activate::forget;
use super::records::{ACTIVATIONS, Record};
use super::{Activations, KIND, clear};
use crate::Error;
use crate::gc::{Dropped, NodeKey};
use crate::snapshots::{Node, back_references, blocking, references};

impl Activations {
    /// Every activation, as the collector sees it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn nodes(&self) -> Result<Vec<Node>, Error> {
        let epochs = &self.0.shared.epochs;
        self.0.shared.store.read(|txn| {
            let mut nodes = Vec::new();
            for row in txn.range(&ACTIVATIONS, ())? {
                let ((namespace, name), record) = row?;
                let key = (namespace, KIND.to_owned(), name);
                let touched = epochs.is_touched(&key);
                nodes.push(Node { touched, ..node(key, &record) });
            }
            Ok(nodes)
        })
    }

    /// Undoes the mounts of activations whose records a sweep has deleted.
    pub(crate) async fn swept(&self, dropped: Vec<Dropped>) {
        for (_, id) in dropped {
            let target = self.target(id);
            if let Err(error) = blocking("clear mounts", move || clear(&target)).await {
                // Without a record: the next start tries again.
                tracing::warn!(error = berth_errors::chain(&error), "undo collected mounts");
            }
        }
    }
}

/// An activation as it is now, inside a commit.
pub(crate) fn node_now(txn: &Write, key: &NodeKey) -> Result<Option<Node>, Error> {
    let record = txn.get(&ACTIVATIONS, &(&*key.0, &*key.2))?;
    Ok(record.map(|record| node(key.clone(), &record)))
}

/// Deletes the records of activations, inside a commit. Answers which were there.
pub(crate) fn drop_dead(txn: &Write, dead: &[NodeKey]) -> Result<Vec<Dropped>, Error> {
    let mut dropped = Vec::new();
    for node in dead {
        let record = forget(txn, &node.0, &node.2)?;
        dropped.extend(record.map(|record| (node.clone(), record.id)));
    }
    Ok(dropped)
}

fn node(key: NodeKey, record: &Record) -> Node {
    let (refs, kept_by) = (references(&record.labels), back_references(&record.labels));
    Node { refs, kept_by, ..Node::new(key) }
}
