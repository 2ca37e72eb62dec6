//! Domain events as containerd's messages, in the ring that subscribers read.

use std::sync::Arc;

use berth_events::Ring;
use berth_ids::Namespace;
use berth_proto::containerd::events as wire;
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::type_url;
use prost::{Message, Name};

use super::wire::{to_labels, to_size};
use crate::events::{Event, Sink};

/// The events of this run of the process.
#[derive(Clone)]
pub struct Journal {
    /// The events that are kept.
    pub ring: Ring,
}

impl Journal {
    /// Keeps the last `capacity` events.
    #[must_use]
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { ring: Ring::new(capacity) })
    }

    fn put<M: Message + Name>(&self, namespace: &Namespace, topic: &'static str, message: &M) {
        let value = message.encode_to_vec();
        self.ring.publish(namespace.clone(), topic, type_url::<M>(), value);
    }
}

impl Sink for Journal {
    fn publish(&self, namespace: &Namespace, event: &Event) {
        let name = || namespace.to_string();
        match event.clone() {
            Event::ContentCreated { digest, size, media_type } => {
                let (digest, size) = (digest.to_string(), to_size(size));
                let message = wire::ContentCreate { digest, size, media_type };
                self.put(namespace, "/content/create", &message);
            }
            Event::ContentDeleted { digest } => {
                let message = wire::ContentDelete { digest: digest.to_string() };
                self.put(namespace, "/content/delete", &message);
            }
            Event::ImageCreated { name, labels } => {
                let message = images::ImageCreate { name, labels: to_labels(labels) };
                self.put(namespace, "/images/create", &message);
            }
            Event::ImageUpdated { name, labels } => {
                let message = images::ImageUpdate { name, labels: to_labels(labels) };
                self.put(namespace, "/images/update", &message);
            }
            Event::ImageDeleted { name } => {
                self.put(namespace, "/images/delete", &images::ImageDelete { name });
            }
            Event::NamespaceCreated { labels } => {
                let message = wire::NamespaceCreate { name: name(), labels: to_labels(labels) };
                self.put(namespace, "/namespaces/create", &message);
            }
            Event::NamespaceUpdated { labels } => {
                let message = wire::NamespaceUpdate { name: name(), labels: to_labels(labels) };
                self.put(namespace, "/namespaces/update", &message);
            }
            Event::NamespaceDeleted => {
                self.put(namespace, "/namespaces/delete", &wire::NamespaceDelete { name: name() });
            }
        }
    }
}
