//! Lists: what filters leave of them, and that they are the same in parts.

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use tonic::Streaming;

use crate::stage::{Stage, on_a_node, shell};

const CREATED: i32 = cri::ContainerState::ContainerCreated as i32;
const RUNNING: i32 = cri::ContainerState::ContainerRunning as i32;
const EXITED: i32 = cri::ContainerState::ContainerExited as i32;
const READY: i32 = cri::PodSandboxState::SandboxReady as i32;
const NOT_READY: i32 = cri::PodSandboxState::SandboxNotready as i32;

/// Two pods that are ready and one that is not, and a container in each state.
struct Scene {
    pods: [String; 3],
    created: String,
    running: String,
    exited: String,
}

impl Scene {
    fn new(stage: &Stage) -> Result<Self> {
        stage.pull()?;
        let (_, first, one) = stage.pod_with_logs("one")?;
        let (_, second, two) = stage.pod_with_logs("two")?;
        let (_, _, three) = stage.pod_with_logs("three")?;
        stage.stop_pod(&three)?;
        let labelled = |name: &str, script: &str| {
            let mut config = shell(name, &stage.image, script);
            let labels = [("tier".to_owned(), "all".to_owned()), ("own".to_owned(), name.into())];
            config.labels = labels.into();
            config
        };
        let created = stage.create(&one, &labelled("created", "true"), &first)?;
        let running = stage.started(&one, &labelled("running", "sleep 100000"), &first)?;
        let exited = stage.started(&two, &labelled("exited", "true"), &second)?;
        stage.ended(&exited)?;
        Ok(Self { pods: [one, two, three], created, running, exited })
    }
}

/// All that comes in the parts of a stream.
fn all<T, I>(
    stage: &Stage,
    mut stream: Streaming<T>,
    part: impl Fn(T) -> Vec<I>,
) -> Result<Vec<I>> {
    let mut found = Vec::new();
    while let Some(message) = stage.next(&mut stream)? {
        found.extend(part(message));
    }
    Ok(found)
}

fn containers(
    stage: &Stage,
    filter: Option<cri::ContainerFilter>,
) -> Result<Vec<cri::Container>, tonic::Status> {
    let request = cri::ListContainersRequest { filter };
    Ok(stage.runtime(|mut c| async move { c.list_containers(request).await })?.containers)
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

fn labels(of: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn filters_of_containers_leave_those_that_all_of_them_name() -> Result<()> {
    on_a_node(|stage| {
        let Scene { pods, created, running, exited } = Scene::new(stage)?;
        let none = cri::ContainerFilter::default;
        let id = |id: &str| cri::ContainerFilter { id: id.to_owned(), ..none() };
        let pod = |pod: &str| cri::ContainerFilter { pod_sandbox_id: pod.to_owned(), ..none() };
        let state = |state| Some(cri::ContainerStateValue { state });
        let label =
            |of: &[(&str, &str)]| cri::ContainerFilter { label_selector: labels(of), ..none() };
        let cases: Vec<(cri::ContainerFilter, Vec<&String>)> = vec![
            (none(), vec![&created, &running, &exited]),
            (id(&running), vec![&running]),
            (id(&running[..12]), vec![&running]),
            (id(&pods[0]), vec![]),
            (id("not-of-a-number"), vec![]),
            (pod(&pods[0]), vec![&created, &running]),
            (pod(&pods[1][..12]), vec![&exited]),
            (pod(&pods[2]), vec![]),
            (cri::ContainerFilter { state: state(CREATED), ..none() }, vec![&created]),
            (cri::ContainerFilter { state: state(RUNNING), ..none() }, vec![&running]),
            (cri::ContainerFilter { state: state(EXITED), ..none() }, vec![&exited]),
            (label(&[("tier", "all")]), vec![&created, &running, &exited]),
            (label(&[("tier", "all"), ("own", "exited")]), vec![&exited]),
            (label(&[("tier", "all"), ("own", "none")]), vec![]),
            (label(&[("own", "")]), vec![]),
            (cri::ContainerFilter { state: state(RUNNING), ..pod(&pods[0][..12]) }, vec![&running]),
            (cri::ContainerFilter { state: state(EXITED), ..pod(&pods[0]) }, vec![]),
            (cri::ContainerFilter { pod_sandbox_id: pods[1].clone(), ..id(&running) }, vec![]),
            (
                cri::ContainerFilter {
                    pod_sandbox_id: pods[0][..12].to_owned(),
                    state: state(RUNNING),
                    label_selector: labels(&[("own", "running")]),
                    ..id(&running[..12])
                },
                vec![&running],
            ),
        ];
        for (filter, expected) in cases {
            let listed = containers(stage, Some(filter.clone()))?;
            let ids = sorted(listed.into_iter().map(|one| one.id).collect());
            let expected = sorted(expected.into_iter().cloned().collect());
            ensure!(ids == expected, "{filter:?}: {ids:?}, not {expected:?}");
        }
        assert_eq!(containers(stage, None)?.len(), 3, "without a filter");
        Ok(())
    })
}

#[test]
fn filters_of_pods_leave_those_that_all_of_them_name() -> Result<()> {
    on_a_node(|stage| {
        let [one, two, three] = &Scene::new(stage)?.pods;
        let none = cri::PodSandboxFilter::default;
        let id = |id: &str| cri::PodSandboxFilter { id: id.to_owned(), ..none() };
        let in_state = |state, filter| cri::PodSandboxFilter {
            state: Some(cri::PodSandboxStateValue { state }),
            ..filter
        };
        let app =
            |of: &str| cri::PodSandboxFilter { label_selector: labels(&[("app", of)]), ..none() };
        let cases = [
            (none(), vec![one, two, three]),
            (id(two), vec![two]),
            (id(&two[..12]), vec![two]),
            (id("not-of-a-number"), vec![]),
            (in_state(READY, none()), vec![one, two]),
            (in_state(NOT_READY, none()), vec![three]),
            (app("three"), vec![three]),
            (in_state(READY, app("three")), vec![]),
            (in_state(READY, id(&three[..12])), vec![]),
            (in_state(NOT_READY, id(&three[..12])), vec![three]),
            (cri::PodSandboxFilter { id: one.clone(), ..app("two") }, vec![]),
            (
                in_state(READY, cri::PodSandboxFilter { id: one[..12].to_owned(), ..app("one") }),
                vec![one],
            ),
        ];
        for (filter, expected) in cases {
            let listed = stage.pods(filter.clone())?;
            let ids = sorted(listed.into_iter().map(|one| one.id).collect());
            let expected = sorted(expected.into_iter().cloned().collect());
            ensure!(ids == expected, "{filter:?}: {ids:?}, not {expected:?}");
        }
        Ok(())
    })
}

#[test]
fn pods_and_containers_in_parts_are_those_of_the_lists() -> Result<()> {
    on_a_node(|stage| {
        let scene = Scene::new(stage)?;
        let ready = Some(cri::PodSandboxStateValue { state: READY });
        let some = cri::PodSandboxFilter { state: ready, ..Default::default() };
        for (filter, count) in [(None, 3), (Some(some), 2)] {
            let request = cri::StreamPodSandboxesRequest { filter: filter.clone() };
            let stream =
                stage.stream(|mut c| async move { c.stream_pod_sandboxes(request).await })?;
            let mut parts = all(stage, stream, |part| part.pod_sandboxes)?;
            let mut listed = stage.pods(filter.unwrap_or_default())?;
            parts.sort_by(|one, other| one.id.cmp(&other.id));
            listed.sort_by(|one, other| one.id.cmp(&other.id));
            assert_eq!(parts, listed);
            assert_eq!(parts.len(), count);
        }
        let some =
            cri::ContainerFilter { pod_sandbox_id: scene.pods[0].clone(), ..Default::default() };
        for (filter, count) in [(None, 3), (Some(some), 2)] {
            let request = cri::StreamContainersRequest { filter: filter.clone() };
            let stream = stage.stream(|mut c| async move { c.stream_containers(request).await })?;
            let mut parts = all(stage, stream, |part| part.containers)?;
            let mut listed = containers(stage, filter)?;
            parts.sort_by(|one, other| one.id.cmp(&other.id));
            listed.sort_by(|one, other| one.id.cmp(&other.id));
            assert_eq!(parts, listed);
            assert_eq!(parts.len(), count);
        }
        Ok(())
    })
}

#[test]
fn figures_in_parts_are_of_those_of_the_lists() -> Result<()> {
    on_a_node(|stage| {
        let scene = Scene::new(stage)?;
        let of = |stats: Vec<cri::ContainerStats>| {
            let ids = stats.into_iter().map(|one| one.attributes.unwrap_or_default().id);
            sorted(ids.collect())
        };
        let some =
            cri::ContainerStatsFilter { id: scene.running[..12].to_owned(), ..Default::default() };
        for filter in [None, Some(some.clone())] {
            let request = cri::ListContainerStatsRequest { filter: filter.clone() };
            let listed =
                stage.runtime(|mut c| async move { c.list_container_stats(request).await })?;
            let request = cri::StreamContainerStatsRequest { filter: filter.clone() };
            let stream =
                stage.stream(|mut c| async move { c.stream_container_stats(request).await })?;
            let parts = of(all(stage, stream, |part| part.container_stats)?);
            assert_eq!(parts, of(listed.stats), "{filter:?}");
            ensure!(parts.contains(&scene.running), "{parts:?}");
            ensure!(filter.is_none() || parts.len() == 1, "{parts:?}");
        }
        let of = |stats: Vec<cri::PodSandboxStats>| {
            let ids = stats.into_iter().flat_map(|one| {
                let linux = one.linux.unwrap_or_default();
                let inner = linux.containers.into_iter().filter_map(|one| one.attributes);
                let pod = one.attributes.unwrap_or_default().id;
                std::iter::once(pod).chain(inner.map(|one| one.id)).collect::<Vec<_>>()
            });
            sorted(ids.collect())
        };
        let some = cri::PodSandboxStatsFilter { id: scene.pods[0].clone(), ..Default::default() };
        for filter in [None, Some(some)] {
            let request = cri::ListPodSandboxStatsRequest { filter: filter.clone() };
            let listed =
                stage.runtime(|mut c| async move { c.list_pod_sandbox_stats(request).await })?;
            let request = cri::StreamPodSandboxStatsRequest { filter: filter.clone() };
            let stream =
                stage.stream(|mut c| async move { c.stream_pod_sandbox_stats(request).await })?;
            let parts = of(all(stage, stream, |part| part.pod_sandbox_stats)?);
            assert_eq!(parts, of(listed.stats), "{filter:?}");
            ensure!(parts.contains(&scene.running) && parts.contains(&scene.pods[0]), "{parts:?}");
            assert_eq!(parts.contains(&scene.pods[1]), filter.is_none(), "{filter:?}");
        }
        Ok(())
    })
}

#[test]
fn a_snapshot_that_cannot_be_measured_spoils_no_figures() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let ctr =
            |line: &str| stage.node.ctr(&format!("-n k8s.io snapshots {line}")).output()?.ok();
        ctr("prepare sick")?;
        let mounts = ctr("mounts /nowhere sick")?;
        let folder = mounts.split_whitespace().find(|word| word.ends_with("/fs"));
        let folder = std::path::Path::new(folder.context("a folder")?);
        fs_err::remove_dir_all(folder.parent().context("a folder")?)?;
        let alone = ctr("usage sick");
        ensure!(alone.is_err(), "it is measured: {alone:?}");
        let request = cri::ImageFsInfoRequest {};
        let info = stage.images(|mut c| async move { c.image_fs_info(request).await })?;
        let used = info.image_filesystems.first().and_then(|of| of.used_bytes);
        ensure!(used.is_some_and(|used| used.value > 1 << 20), "{info:?}");
        Ok(())
    })
}
