//! What happened to snapshots, as containerd's events.

use std::sync::Arc;

use berth_events::Ring;
use berth_proto::containerd::events as containerd;
use berth_proto::pack;

use crate::snapshots::{Change, Listener};

/// Publishes every change into `ring`.
#[must_use]
pub fn listener(ring: Ring) -> Listener {
    Arc::new(move |namespace, snapshotter, change| {
        let snapshotter = snapshotter.to_owned();
        let (topic, any) = match change {
            Change::Prepared { key, parent } => (
                "/snapshot/prepare",
                pack(&containerd::SnapshotPrepare { key, parent, snapshotter }),
            ),
            Change::Committed { key, name } => {
                ("/snapshot/commit", pack(&containerd::SnapshotCommit { key, name, snapshotter }))
            }
            Change::Removed { key } => {
                ("/snapshot/remove", pack(&containerd::SnapshotRemove { key, snapshotter }))
            }
        };
        ring.publish(namespace.clone(), topic, any.type_url, any.value);
    })
}
