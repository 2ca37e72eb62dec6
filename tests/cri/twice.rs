//! Calls that are made again while they are under way: kubelets do that when they have waited too long.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use cri::runtime_service_client::RuntimeServiceClient;
use futures::future::join_all;
use tonic::Status;

use crate::stage::{Stage, on_a_node, pod, shell};

/// So many at once.
const CALLS: usize = 4;

/// Asks for pods all at once.
fn run_pods(stage: &Stage, configs: &[cri::PodSandboxConfig]) -> Vec<Result<String, Status>> {
    let calls = configs.iter().map(|config| async move {
        let mut client = RuntimeServiceClient::new(stage.channel());
        let config = Some(config.clone());
        let request = cri::RunPodSandboxRequest { config, ..Default::default() };
        Ok(client.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    });
    stage.tokio().block_on(join_all(calls))
}

/// The same of containers.
fn create(
    stage: &Stage,
    pod: &str,
    pod_config: &cri::PodSandboxConfig,
    configs: &[cri::ContainerConfig],
) -> Vec<Result<String, Status>> {
    let calls = configs.iter().map(|config| async move {
        let mut client = RuntimeServiceClient::new(stage.channel());
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(pod_config.clone()),
        };
        Ok(client.create_container(request).await?.into_inner().container_id)
    });
    stage.tokio().block_on(join_all(calls))
}

/// The one number that all of them have answered.
fn same(answers: Vec<Result<String, Status>>) -> Result<String> {
    let ids = answers.into_iter().collect::<Result<BTreeSet<_>, _>>()?;
    ensure!(ids.len() == 1, "{ids:?}");
    ids.into_iter().next().context("a number")
}

/// The one number that one of them has answered; the others are told that its name is taken.
fn one_of(answers: Vec<Result<String, Status>>) -> Result<String> {
    let mut made = Vec::new();
    for answer in answers {
        match answer {
            Ok(id) => made.push(id),
            Err(status) => ensure!(status.message().contains("is reserved for"), "{status:?}"),
        }
    }
    ensure!(made.len() == 1, "{made:?}");
    made.pop().context("a number")
}

/// Containers on record, pods' own ones too, and snapshots that can be written.
fn held(stage: &Stage) -> Result<(usize, usize)> {
    let containers = stage.node.ctr("-n k8s.io containers ls -q").output()?.ok()?;
    let snapshots = stage.node.ctr("-n k8s.io snapshots ls").output()?.ok()?;
    let active = snapshots.lines().filter(|line| line.trim_end().ends_with("Active"));
    Ok((containers.lines().count(), active.count()))
}

#[test]
fn a_pod_that_is_asked_for_by_several_at_once_is_made_once() -> Result<()> {
    on_a_node(|stage| {
        let config = pod("once");
        let id = same(run_pods(stage, &vec![config.clone(); CALLS]))?;
        let there = stage.pods(cri::PodSandboxFilter::default())?;
        assert_eq!(there.iter().map(|pod| &pod.id).collect::<Vec<_>>(), [&id]);
        assert_eq!((stage.addresses()?.len(), stage.node.shims().len()), (2, 1));
        assert_eq!(held(stage)?.0, 1);
        stage.remove_pod(&id)?;
        assert_eq!(stage.addresses()?, [""; 0]);

        // In other words of the same name it is another one, which cannot be beside it.
        let other = cri::PodSandboxConfig { hostname: "other".to_owned(), ..config.clone() };
        let id = one_of(run_pods(stage, &[config, other]))?;
        assert_eq!((stage.pods(cri::PodSandboxFilter::default())?.len(), held(stage)?.0), (1, 1));
        stage.remove_pod(&id)?;
        ensure!(stage.node.mounts().is_empty(), "{:?}", stage.node.mounts());
        stage.node.shims_end()
    })
}

#[test]
fn a_container_that_is_asked_for_by_several_at_once_is_made_once() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("once")?;
        let before = held(stage)?;
        let config = shell("one", &stage.image, "sleep 100000");
        let id = same(create(stage, &pod, &pod_config, &vec![config; CALLS]))?;
        assert_eq!(held(stage)?, (before.0 + 1, before.1 + 1));
        stage.start(&id)?;
        let (yes, no) = (shell("two", &stage.image, "true"), shell("two", &stage.image, "false"));
        one_of(create(stage, &pod, &pod_config, &[yes, no]))?;
        assert_eq!(held(stage)?, (before.0 + 2, before.1 + 2));
        let request = cri::ListContainersRequest::default();
        let all = stage.runtime(|mut c| async move { c.list_containers(request).await })?;
        assert_eq!(all.containers.len(), 2);
        stage.remove_pod(&pod)?;
        assert_eq!(held(stage)?, (before.0 - 1, before.1));
        // There is none where nothing was ever kept of a container.
        let folders = fs_err::read_dir(stage.node.path("root/cri/containers"));
        assert_eq!(folders.map_or(0, Iterator::count), 0);
        stage.node.shims_end()
    })
}
