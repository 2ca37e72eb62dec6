//! Activations in collections: alive while a lease holds them, something refers to them, or what
//! they are for (`containerd.io/gc.bref.*`) is alive.

use berth_store::Write;

use super::activate::forget;
use super::records::ACTIVATIONS;
use super::{Activations, KIND, clear, not_found};
use crate::Error;
use crate::gc::NodeKey;
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
                let (refs, kept_by) = (references(&record.labels), back_references(&record.labels));
                nodes.push(Node { key, root: false, refs, kept_by, touched });
            }
            Ok(nodes)
        })
    }

    /// Undoes those of `dead` that were not used since the collection began. Answers which.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn sweep(&self, dead: Vec<NodeKey>) -> Result<Vec<NodeKey>, Error> {
        let shared = self.0.shared.clone();
        let sweep = move |txn: &Write| {
            let mut swept = Vec::new();
            for node in dead.iter().filter(|node| !shared.epochs.is_touched(node)) {
                if let Some(record) = forget(txn, &node.0, &node.2)? {
                    swept.push((node.clone(), record.id));
                }
            }
            Ok::<_, Error>(swept)
        };
        let swept = self.0.shared.store.commit("sweep mounts", sweep).await?;
        let mut nodes = Vec::with_capacity(swept.len());
        for (node, id) in swept {
            let target = self.target(id);
            if let Err(error) = blocking("clear mounts", move || clear(&target)).await {
                // Without a record: the next start tries again.
                tracing::warn!(error = berth_errors::chain(&error), "undo collected mounts");
            }
            nodes.push(node);
        }
        Ok(nodes)
    }

    /// Keeps an activation through the open collection.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn pin(&self, node: NodeKey) -> Result<(), Error> {
        let shared = self.0.shared.clone();
        let pin = move |txn: &Write| {
            let known = txn.get(&ACTIVATIONS, &(&*node.0, &*node.2))?;
            known.ok_or_else(|| not_found(&node.2))?;
            shared.epochs.touch(node.clone());
            Ok(())
        };
        self.0.shared.store.commit("pin mount", pin).await
    }
}
