//! How pods and containers are when an event is told of them.

use berth_proto::runtime::v1 as wire;

use crate::containers::Containers;
use crate::events::Kind;
use crate::pods::Pods;
use crate::time;

/// What is told of something that happened to a container, or to a pod, whose numbers are the same then.
pub async fn described(
    (id, pod): (String, String),
    kind: Kind,
    pods: &Pods,
    containers: &Containers,
) -> wire::ContainerEventResponse {
    let mut containers_statuses = Vec::new();
    for container in containers.of_pod(&pod) {
        // One that is gone meanwhile is told of next; nothing else is asked of anybody that may be away.
        if let Ok((status, _)) = containers.status(container.id(), false).await {
            containers_statuses.push(status);
        }
    }
    wire::ContainerEventResponse {
        container_id: id,
        container_event_type: kind.into(),
        created_at: time::now(),
        pod_sandbox_status: pods.status(&pod).ok(),
        containers_statuses,
    }
}
