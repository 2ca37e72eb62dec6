//! `berth cri events`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::cri::{shown, write};
use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End after so many events.
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let answer = client.cri().get_container_events(client.patient(wire::GetEventsRequest {})).await;
    let mut stream = answer.step(|| "subscribe to events".to_owned())?.into_inner();
    let mut left = args.count;
    while left != Some(0) {
        let Some(event) = stream.message().await.step(|| "read events".to_owned())? else { break };
        if global.json {
            output::json_line(&write::json(&event))?;
        } else {
            output::line(as_line(&event))?;
        }
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// When what happened to whom, and in which pod.
fn as_line(event: &wire::ContainerEventResponse) -> String {
    let what = match wire::ContainerEventType::try_from(event.container_event_type) {
        Ok(wire::ContainerEventType::ContainerCreatedEvent) => "created",
        Ok(wire::ContainerEventType::ContainerStartedEvent) => "started",
        Ok(wire::ContainerEventType::ContainerStoppedEvent) => "stopped",
        Ok(wire::ContainerEventType::ContainerDeletedEvent) => "deleted",
        Err(_) => "unknown",
    };
    let at = output::moment(shown::moment(event.created_at).as_ref());
    let pod = event.pod_sandbox_status.clone().unwrap_or_default();
    let of = if pod.id == event.container_id { "pod" } else { "container" };
    let pod = pod.metadata.unwrap_or_default();
    format!("{at} {what} {of} {} {}/{}", event.container_id, pod.namespace, pod.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_pods_from_containers() {
        let metadata = wire::PodSandboxMetadata {
            name: "web".into(),
            namespace: "shop".into(),
            ..Default::default()
        };
        let pod = wire::PodSandboxStatus {
            id: "p".into(),
            metadata: Some(metadata),
            ..Default::default()
        };
        let mut event = wire::ContainerEventResponse {
            container_id: "p".into(),
            container_event_type: 1,
            created_at: 1_000_000_000,
            pod_sandbox_status: Some(pod),
            ..Default::default()
        };
        assert_eq!(as_line(&event), "1970-01-01T00:00:01Z started pod p shop/web");
        event.container_id = "c".into();
        event.container_event_type = 2;
        assert_eq!(as_line(&event), "1970-01-01T00:00:01Z stopped container c shop/web");
    }
}
