//! What events carry, as JSON.

use berth_proto::containerd::{events as of, services::images::v1 as images};
use berth_proto::unpack;
use prost_types::Any;
use serde_json::{Value, json};

use crate::output;

/// Takes an event's message apart into the fields that are named.
macro_rules! fields {
    ($any:expr; $($message:path { $($field:ident),* $(,)? })*) => {
        $(if let Some(Ok(message)) = unpack::<$message>($any) {
            return json!({ $(stringify!($field): message.$field),* });
        })*
    };
}

/// The event's fields; those of a message that is not known are shown as its size.
pub fn fields(any: &Any) -> Value {
    if let Some(Ok(exit)) = unpack::<of::TaskExit>(any) {
        let exited_at = output::moment(exit.exited_at.as_ref());
        return json!({ "container_id": exit.container_id, "id": exit.id, "pid": exit.pid,
            "exit_status": exit.exit_status, "exited_at": exited_at });
    }
    if let Some(Ok(gone)) = unpack::<of::TaskDelete>(any) {
        let exited_at = output::moment(gone.exited_at.as_ref());
        return json!({ "container_id": gone.container_id, "id": gone.id, "pid": gone.pid,
            "exit_status": gone.exit_status, "exited_at": exited_at });
    }
    fields!(any;
        of::TaskCreate { container_id, bundle, pid }
        of::TaskStart { container_id, pid }
        of::TaskExecAdded { container_id, exec_id }
        of::TaskExecStarted { container_id, exec_id, pid }
        of::TaskPaused { container_id }
        of::TaskResumed { container_id }
        of::TaskOom { container_id }
        of::TaskCheckpointed { container_id, checkpoint }
        of::ContainerCreate { id, image }
        of::ContainerUpdate { id, image, labels, snapshot_key }
        of::ContainerDelete { id }
        of::ContentCreate { digest, size, media_type }
        of::ContentDelete { digest }
        of::NamespaceCreate { name, labels }
        of::NamespaceUpdate { name, labels }
        of::NamespaceDelete { name }
        of::SandboxCreate { sandbox_id }
        of::SandboxStart { sandbox_id }
        of::SandboxExit { sandbox_id, exit_status }
        of::SnapshotPrepare { key, parent, snapshotter }
        of::SnapshotCommit { key, name, snapshotter }
        of::SnapshotRemove { key, snapshotter }
    );
    image(any).unwrap_or_else(|| json!({ "type": any.type_url, "bytes": any.value.len() }))
}

/// Images' events have a package of their own name space.
fn image(any: &Any) -> Option<Value> {
    use prost::Message;
    let bytes = any.value.as_slice();
    match any.type_url.rsplit('.').next()? {
        "ImageCreate" => {
            let event = images::ImageCreate::decode(bytes).ok()?;
            Some(json!({ "name": event.name, "labels": event.labels }))
        }
        "ImageUpdate" => {
            let event = images::ImageUpdate::decode(bytes).ok()?;
            Some(json!({ "name": event.name, "labels": event.labels }))
        }
        "ImageDelete" => {
            let event = images::ImageDelete::decode(bytes).ok()?;
            Some(json!({ "name": event.name }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use berth_proto::pack;

    use super::*;

    #[test]
    fn an_event_is_taken_apart() {
        let start = of::TaskStart { container_id: "c".into(), pid: 7 };
        assert_eq!(fields(&pack(&start)), json!({ "container_id": "c", "pid": 7 }));
        let image = images::ImageDelete { name: "x".into() };
        assert_eq!(fields(&pack(&image)), json!({ "name": "x" }));
        let unknown = Any { type_url: "other.Thing".into(), value: vec![1, 2] };
        assert_eq!(fields(&unknown), json!({ "type": "other.Thing", "bytes": 2 }));
    }
}
