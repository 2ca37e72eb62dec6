//! A staging folder of bundle, thrown away unless it becomes a snapshot.

use std::sync::Arc;

use berth_ids::Namespace;
use berth_lifecycle::Tasks;

use super::layers::Layers;

/// What every staging folder of an image has in common.
pub(super) struct Owner {
    pub(super) layers: Arc<dyn Layers>,
    pub(super) tasks: Tasks,
    pub(super) namespace: Namespace,
    pub(super) snapshotter: String,
}

/// A staging folder that is ours to commit. However the unpacking ends, it does not stay.
pub struct Staging {
    name: String,
    owner: Arc<Owner>,
    kept: bool,
}

impl Staging {
    /// A name that nobody had before; bundle makes the folder when the layer comes.
    pub(super) fn new(owner: &Arc<Owner>) -> Self {
        let name = format!("unpack-{}", uuid::Uuid::new_v4().simple());
        Self { name, owner: Arc::clone(owner), kept: false }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// It is a snapshot now.
    pub(super) fn committed(mut self) {
        self.kept = true;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (owner, name) = (Arc::clone(&self.owner), std::mem::take(&mut self.name));
        self.owner.tasks.spawn("discard-staging", async move {
            let thrown = owner.layers.discard(&owner.namespace, &owner.snapshotter, &name).await;
            if let Err(failure) = thrown {
                // Bundle clears its staging folders when it starts.
                tracing::debug!(staging = name, %failure, "staging folder is left to bundle");
            }
        });
    }
}
