//! Containers that go on after a checkpoint, or from one, when what has them go on fails or dies meanwhile.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use berth_proto::containerd::services::tasks::v1::GetRequest;
use berth_proto::containerd::services::tasks::v1::tasks_client::TasksClient;
use berth_proto::runtime::v1 as cri;
use berth_testkit::until;
use tonic::Code;

use super::{
    COUNT, CREATED, EXITED, RUNNING, checkpoint, checkpoint_pod, counts, number, on_a_saving_node,
    restore,
};
use crate::stage::{SOON, Stage, pod, shell};

/// A pod with a container that counted and goes on from there when it is started: their numbers.
fn to_restore(stage: &Stage, tools: &Path, name: &str) -> Result<(String, String)> {
    let (_, pod_config, id) = stage.pod_with_logs(name)?;
    let config = shell("count", &stage.image, COUNT);
    let container = stage.create(&id, &config, &pod_config)?;
    stage.start(&container)?;
    counts(stage, &container)?;
    let folder = tools.join(name);
    fs_err::create_dir(&folder)?;
    checkpoint_pod(stage, &id, &folder, &[&container])?;
    stage.remove_pod(&id)?;
    let restored = restore(stage, &folder, &pod(name), &[config])?;
    let container = restored.restored_containers.first().context("a container")?;
    Ok((restored.pod_sandbox_id, container.container_id.clone()))
}

/// Starts a container whose restore is held up until `hold` is removed, and does something meanwhile. The start fails.
fn start_held(
    stage: &Stage,
    tools: &Path,
    id: &str,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let held = tools.join("held");
    // Of an earlier one, which is over.
    if held.exists() {
        fs_err::remove_file(&held)?;
    }
    fs_err::write(tools.join("hold"), "")?;
    std::thread::scope(|scope| {
        let (client, container_id) = (stage.channel(), id.to_owned());
        let asked = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let mut client = cri::runtime_service_client::RuntimeServiceClient::new(client);
            let request = cri::StartContainerRequest { container_id };
            Ok::<_, anyhow::Error>(runtime.block_on(client.start_container(request)).is_err())
        });
        until("it is being restored", SOON, || held.exists())?;
        meanwhile()?;
        ensure!(asked.join().expect("the caller")?, "the call failed");
        Ok(())
    })
}

/// Whether runtime knows a process of a container, whatever kubelets are told.
fn has_process(stage: &Stage, id: &str) -> Result<bool> {
    let mut client = TasksClient::new(stage.channel());
    let request = GetRequest { container_id: id.to_owned(), ..Default::default() };
    let request = berth_grpc::with_namespace(request, &"k8s.io".parse()?);
    match stage.tokio().block_on(client.get(request)) {
        Err(status) if status.code() == Code::NotFound => Ok(false),
        answer => Ok(answer.map(|_| true)?),
    }
}

/// What is being restored cannot be ended by then: nobody but this service knows that it is not to run.
#[test]
fn what_is_restored_after_its_start_has_failed_is_ended() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        for name in ["failing", "and-killed"] {
            let (pod, id) = to_restore(stage, tools, name)?;
            start_held(stage, tools, &id, || stage.node.kill_service("berth-runtime"))?;
            let status = stage.ended(&id)?;
            assert_eq!((status.exit_code, &*status.reason), (128, "StartError"), "{name}");
            ensure!(has_process(stage, &id)?, "it is held up still");
            if name == "and-killed" {
                stage.node.kill_service("berth-cri")?;
                until("it is known again", SOON, || stage.container(&id).is_ok())?;
                ensure!(has_process(stage, &id)?, "it is held up still");
            }
            fs_err::remove_file(tools.join("hold"))?;
            until("it does not run", SOON, || has_process(stage, &id).is_ok_and(|has| !has))?;
            let status = stage.container(&id)?;
            let told = (status.state, status.exit_code, &*status.reason);
            assert_eq!(told, (EXITED, 128, "StartError"), "{name}");
            stage.remove_pod(&pod)?;
        }
        Ok(())
    })
}

#[test]
fn what_is_restored_while_the_service_dies_has_been_started() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        let (pod, id) = to_restore(stage, tools, "service")?;
        start_held(stage, tools, &id, || stage.node.kill_service("berth-cri"))?;
        until("it is known again", SOON, || stage.container(&id).is_ok())?;
        assert_eq!(stage.container(&id)?.state, CREATED);
        fs_err::remove_file(tools.join("hold"))?;
        let running = || stage.container(&id).is_ok_and(|status| status.state == RUNNING);
        until("it runs", SOON, running)?;
        ensure!(number(stage, &id, "/restored")? > 0, "it goes on");
        stage.stop(&id, 0)?;
        assert_eq!(stage.ended(&id)?.exit_code, 137);
        stage.remove_pod(&pod).map_err(Into::into)
    })
}

#[test]
fn one_that_could_not_go_on_at_once_goes_on() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("refused")?;
        let id = stage.create(&pod, &shell("count", &stage.image, COUNT), &pod_config)?;
        stage.start(&id)?;
        counts(stage, &id)?;
        let refuse = tools.join("refuse");
        fs_err::write(&refuse, "")?;
        checkpoint(stage, &id, &tools.join("saved.tar"), 0)?;
        ensure!(!refuse.exists(), "it was refused once");
        let at = number(stage, &id, "/state")?;
        let counts_on = || number(stage, &id, "/state").is_ok_and(|now| now > at);
        until("it counts on", SOON, counts_on)?;
        Ok(stage.remove_pod(&pod)?)
    })
}
