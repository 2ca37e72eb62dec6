//! What happened here, told after it is durable.

use std::sync::Arc;

use berth_ids::{Digest, Labels, Namespace};

/// Something that happened to an object of this service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A namespace got a blob.
    ContentCreated {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// What its writer said that it is; often nothing.
        media_type: String,
    },
    /// A namespace lost a blob.
    ContentDeleted {
        /// The blob.
        digest: Digest,
    },
    /// An image was made.
    ImageCreated {
        /// Its name.
        name: String,
        /// Its labels.
        labels: Labels,
    },
    /// An image was changed.
    ImageUpdated {
        /// Its name.
        name: String,
        /// Its labels after the change.
        labels: Labels,
    },
    /// An image was deleted.
    ImageDeleted {
        /// Its name.
        name: String,
    },
    /// A namespace was made.
    NamespaceCreated {
        /// Its labels.
        labels: Labels,
    },
    /// A namespace's labels were changed.
    NamespaceUpdated {
        /// Its labels after the change.
        labels: Labels,
    },
    /// A namespace was deleted.
    NamespaceDeleted,
}

/// Takes events in order and keeps them for subscribers.
pub trait Sink: Send + Sync {
    /// Tells of an event. Never waits.
    fn publish(&self, namespace: &Namespace, event: &Event);
}

/// Where this service tells its events.
pub type Events = Arc<dyn Sink>;
