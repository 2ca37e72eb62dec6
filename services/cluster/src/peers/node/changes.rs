//! What an event of a service changed of what is shown.
//!
//! Names come from clients: one that cannot be shown is not told by name, but counts to what is left out
//! of its namespace.

use std::sync::Arc;

use berth_proto::berth::node::v1::NodeEvent;
use berth_proto::containerd::events as task;
use berth_proto::containerd::services::images::v1 as image;
use berth_proto::unpack;
use prost::{Message, Name};

use crate::keys::{Held, Kind};

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that is shown.
    Nothing,
    /// This one.
    One(Held),
    /// Something of the namespace.
    Namespace(Arc<str>),
}

/// What an event of distribution says.
pub(super) fn of_distribution(event: &NodeEvent) -> Change {
    let name = match event.topic.as_str() {
        "/images/create" => read::<image::ImageCreate>(event).map(|event| event.name),
        "/images/update" => read::<image::ImageUpdate>(event).map(|event| event.name),
        "/images/delete" => read::<image::ImageDelete>(event).map(|event| event.name),
        // An image may be complete by it, or not any more.
        "/content/create" | "/content/delete" => None,
        _ => return Change::Nothing,
    };
    change(Kind::Images, event, name)
}

/// What an event of runtime says. Some are what a client published.
pub(super) fn of_runtime(event: &NodeEvent) -> Change {
    let id = match event.topic.as_str() {
        "/containers/create" => read::<task::ContainerCreate>(event).map(|event| event.id),
        "/containers/update" => read::<task::ContainerUpdate>(event).map(|event| event.id),
        "/containers/delete" => read::<task::ContainerDelete>(event).map(|event| event.id),
        "/tasks/create" => read::<task::TaskCreate>(event).map(|event| event.container_id),
        "/tasks/start" => read::<task::TaskStart>(event).map(|event| event.container_id),
        "/tasks/paused" => read::<task::TaskPaused>(event).map(|event| event.container_id),
        "/tasks/resumed" => read::<task::TaskResumed>(event).map(|event| event.container_id),
        "/tasks/oom" => read::<task::TaskOom>(event).map(|event| event.container_id),
        "/tasks/exit" => match read::<task::TaskExit>(event) {
            Some(exit) if is_added(&exit.id, &exit.container_id) => return Change::Nothing,
            exit => exit.map(|exit| exit.container_id),
        },
        "/tasks/delete" => match read::<task::TaskDelete>(event) {
            Some(deleted) if is_added(&deleted.id, &deleted.container_id) => {
                return Change::Nothing;
            }
            deleted => deleted.map(|deleted| deleted.container_id),
        },
        _ => return Change::Nothing,
    };
    change(Kind::Containers, event, id)
}

/// Whether a process is not its task's first.
fn is_added(process: &str, container: &str) -> bool {
    !process.is_empty() && process != container
}

fn read<M: Message + Name + Default>(event: &NodeEvent) -> Option<M> {
    unpack(event.event.as_ref()?)?.ok()
}

fn change(kind: Kind, event: &NodeEvent, name: Option<String>) -> Change {
    let held = name.and_then(|name| Held::new(kind, &event.namespace, &name).ok());
    match held {
        Some(held) => Change::One(held),
        None if berth_ids::validate_identifier(&event.namespace).is_err() => Change::Nothing,
        None => Change::Namespace(event.namespace.as_str().into()),
    }
}

#[cfg(test)]
mod tests {
    use berth_proto::pack;

    use super::*;

    fn event<M: Message + Name>(topic: &str, message: &M) -> NodeEvent {
        let event = Some(pack(message));
        NodeEvent { topic: topic.into(), namespace: "n".into(), event, ..NodeEvent::default() }
    }

    fn one(kind: Kind, name: &str) -> Change {
        Change::One(Held::new(kind, "n", name).unwrap())
    }

    #[test]
    fn images_are_told_by_name_and_blobs_by_namespace() {
        let namespace = Change::Namespace("n".into());
        let name = || "a/b:1".to_owned();
        let made = image::ImageCreate { name: name(), ..Default::default() };
        assert_eq!(of_distribution(&event("/images/create", &made)), one(Kind::Images, "a/b:1"));
        let gone = image::ImageDelete { name: name() };
        assert_eq!(of_distribution(&event("/images/delete", &gone)), one(Kind::Images, "a/b:1"));
        let blob = task::ContentDelete { digest: "sha256:x".into() };
        assert_eq!(of_distribution(&event("/content/delete", &blob)), namespace);
        let long = image::ImageUpdate { name: "x".repeat(600), ..Default::default() };
        assert_eq!(of_distribution(&event("/images/update", &long)), namespace);
        // It is not what its topic says.
        assert_eq!(of_distribution(&event("/images/update", &gone)), namespace);
        let empty = NodeEvent { event: None, ..event("/images/create", &made) };
        assert_eq!(of_distribution(&empty), namespace);
        let nowhere = NodeEvent { namespace: "a/b".into(), ..event("/images/create", &made) };
        assert_eq!(of_distribution(&nowhere), Change::Nothing);
        let other = task::NamespaceCreate { name: "n".into(), ..Default::default() };
        assert_eq!(of_distribution(&event("/namespaces/create", &other)), Change::Nothing);
        assert_eq!(of_runtime(&event("/images/create", &made)), Change::Nothing);
    }

    #[test]
    fn containers_are_told_whatever_happens_to_their_tasks_but_not_to_added_processes() {
        let (own, id) = (one(Kind::Containers, "c"), || "c".to_owned());
        let made = task::ContainerCreate { id: id(), ..Default::default() };
        assert_eq!(of_runtime(&event("/containers/create", &made)), own);
        let started = task::TaskStart { container_id: id(), pid: 1 };
        assert_eq!(of_runtime(&event("/tasks/start", &started)), own);
        let paused = task::TaskPaused { container_id: id() };
        assert_eq!(of_runtime(&event("/tasks/paused", &paused)), own);
        let exit = |id: &str| {
            let exit =
                task::TaskExit { container_id: "c".into(), id: id.into(), ..Default::default() };
            of_runtime(&event("/tasks/exit", &exit))
        };
        assert_eq!((exit("c"), exit("exec")), (own.clone(), Change::Nothing));
        let deleted = |id: &str| {
            let (container_id, id) = ("c".into(), id.into());
            let deleted = task::TaskDelete { container_id, id, ..Default::default() };
            of_runtime(&event("/tasks/delete", &deleted))
        };
        assert_eq!((deleted(""), deleted("c")), (own.clone(), own));
        assert_eq!(deleted("exec"), Change::Nothing);
        let added = task::TaskExecAdded { container_id: id(), exec_id: "e".into() };
        assert_eq!(of_runtime(&event("/tasks/exec-added", &added)), Change::Nothing);
    }
}
