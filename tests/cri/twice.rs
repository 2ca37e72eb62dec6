//! Calls that are made again while they are under way: kubelets do that when they have waited too long.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::write_program;
use cri::runtime_service_client::RuntimeServiceClient;
use futures::future::join_all;
use tonic::{Code, Status};

use crate::stage::{SOON, Stage, on_a_node, on_a_node_of, pod, refused, shell, usual};

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

#[test]
fn a_start_that_is_asked_for_twice_is_one() -> Result<()> {
    let tools = tempfile::tempdir()?;
    let (runc, begun, goes) =
        (tools.path().join("runc"), tools.path().join("begun"), tools.path().join("goes"));
    // It starts nothing until it is told to.
    let held = format!(
        "#!/bin/sh\ncase \" $* \" in *' start '*) echo >> {begun:?}; \
         while [ ! -e {goes:?} ]; do sleep 0.05; done;; esac\nexec runc \"$@\"\n"
    );
    write_program(&runc, &held)?;
    let handler = format!("[cri.runtimes.runc]\nbinary = {runc:?}\n");
    fs_err::write(&goes, "")?;
    on_a_node_of(
        |folder| Ok(usual(folder) + &handler),
        |stage| {
            stage.pull()?;
            let (_, config, pod) = stage.pod_with_logs("twice")?;
            let id = stage.create(&pod, &shell("one", &stage.image, "sleep 1000"), &config)?;
            // The pod's own process has gone the same way.
            fs_err::remove_file(&goes)?;
            fs_err::remove_file(&begun)?;
            let start = || cri::StartContainerRequest { container_id: id.clone() };
            let version = cri::VersionRequest::default();
            let goes_on = async {
                while !begun.exists() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let goes = goes.clone();
            stage.runtime(|client| async move {
                let (mut first, mut second, mut third) =
                    (client.clone(), client.clone(), client.clone());
                let release = async {
                    let _ = tokio::time::timeout(SOON, goes_on).await;
                    // What was sent before it has come by now.
                    third.version(version).await?;
                    fs_err::write(&goes, "")
                        .map_err(|error| tonic::Status::internal(error.to_string()))
                };
                let (one, two, released) = tokio::join!(
                    first.start_container(start()),
                    second.start_container(start()),
                    release
                );
                one.and(two).and_then(|answer| released.map(|()| answer))
            })?;
            let starts = fs_err::read_to_string(&begun)?.lines().count();
            ensure!(starts == 1, "it was started {starts} times");
            // What comes later is told the state.
            let later = stage.start(&id);
            refused(later, Code::Unknown, "container is in CONTAINER_RUNNING state")?;
            Ok(stage.remove_pod(&pod)?)
        },
    )
}
