//! What events say beside what happened: how the pod and its containers are then.

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::Signal;
use cri::ContainerEventType as Kind;
use tonic::Streaming;

use crate::stage::{Stage, on_a_node, shell};

const CREATED: i32 = cri::ContainerState::ContainerCreated as i32;
const RUNNING: i32 = cri::ContainerState::ContainerRunning as i32;
const EXITED: i32 = cri::ContainerState::ContainerExited as i32;

type Told = Streaming<cri::ContainerEventResponse>;

/// The next event, which has to be this one of this container.
fn event(
    stage: &Stage,
    told: &mut Told,
    id: &str,
    kind: Kind,
) -> Result<cri::ContainerEventResponse> {
    let event = stage.next(told)?.context("an event")?;
    let is = event.container_id == id && event.container_event_type() == kind;
    ensure!(is, "{event:?} is not {kind:?} of {id}");
    Ok(event)
}

/// Numbers and states of the containers that an event tells of.
fn states(event: &cri::ContainerEventResponse) -> Vec<(String, i32)> {
    let of = event.containers_statuses.iter().map(|one| (one.id.clone(), one.state));
    let mut states: Vec<_> = of.collect();
    states.sort();
    states
}

#[test]
fn an_event_has_the_pod_and_all_of_its_containers() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let request = cri::GetEventsRequest {};
        let mut told =
            stage.stream(|mut c| async move { c.get_container_events(request).await })?;
        let (_, pod_config, pod) = stage.pod_with_logs("told")?;
        event(stage, &mut told, &pod, Kind::ContainerCreatedEvent)?;
        let started = event(stage, &mut told, &pod, Kind::ContainerStartedEvent)?;
        let of_pod = started.pod_sandbox_status.context("a pod")?;
        assert_eq!(of_pod, stage.pod(&pod)?);
        ensure!(!of_pod.network.unwrap_or_default().ip.is_empty(), "no address");

        let sleeps = shell("sleeps", &stage.image, "sleep 100000");
        let one = stage.create(&pod, &sleeps, &pod_config)?;
        let made = event(stage, &mut told, &one, Kind::ContainerCreatedEvent)?;
        assert_eq!(states(&made), [(one.clone(), CREATED)]);
        stage.start(&one)?;
        let runs = event(stage, &mut told, &one, Kind::ContainerStartedEvent)?;
        assert_eq!(states(&runs), [(one.clone(), RUNNING)]);
        // As whoever asks is told.
        assert_eq!(runs.containers_statuses, [stage.container(&one)?]);

        let script = "while [ ! -e /go ]; do sleep 0.05; done; exit 3";
        let other = stage.create(&pod, &shell("ends", &stage.image, script), &pod_config)?;
        event(stage, &mut told, &other, Kind::ContainerCreatedEvent)?;
        stage.start(&other)?;
        event(stage, &mut told, &other, Kind::ContainerStartedEvent)?;
        stage.exec(&other, &["touch", "/go"], 60)?;
        let ended = event(stage, &mut told, &other, Kind::ContainerStoppedEvent)?;
        let mut expected = vec![(one.clone(), RUNNING), (other.clone(), EXITED)];
        expected.sort();
        assert_eq!(states(&ended), expected);
        let of_it = ended.containers_statuses.iter().find(|status| status.id == other);
        assert_eq!(of_it.context("its status")?.exit_code, 3);

        stage.remove(&other)?;
        let gone = event(stage, &mut told, &other, Kind::ContainerDeletedEvent)?;
        assert_eq!(states(&gone), [(one.clone(), RUNNING)]);
        stage.stop_pod(&pod)?;
        event(stage, &mut told, &one, Kind::ContainerStoppedEvent)?;
        let stopped = event(stage, &mut told, &pod, Kind::ContainerStoppedEvent)?;
        let of_pod = stopped.pod_sandbox_status.clone().context("a pod")?;
        assert_eq!(of_pod.state(), cri::PodSandboxState::SandboxNotready);
        assert_eq!(states(&stopped), [(one, EXITED)]);
        Ok(())
    })
}

#[test]
fn who_listens_is_told_that_there_comes_no_more() -> Result<()> {
    on_a_node(|stage| {
        let request = cri::GetEventsRequest {};
        let mut told =
            stage.stream(|mut c| async move { c.get_container_events(request).await })?;
        stage.node.signal_service("berth-cri", Signal::TERM)?;
        // It is not the connection that ends.
        assert_eq!(stage.next(&mut told)?, None);
        Ok(())
    })
}
