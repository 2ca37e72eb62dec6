//! What is asked of containers while they are being saved.

use anyhow::{Result, ensure};
use berth_grpc::Channel;
use berth_proto::runtime::v1 as cri;
use berth_testkit::{run, until};
use cri::runtime_service_client::RuntimeServiceClient;
use tonic::Code;

use super::{COUNT, counts, on_a_saving_node, saving};
use crate::stage::{SOON, Stage, apart, shell};

type Client = RuntimeServiceClient<Channel>;

fn counting(
    stage: &Stage,
    pod: &str,
    config: &cri::PodSandboxConfig,
    name: &str,
) -> Result<String> {
    let id = stage.started(pod, &shell(name, &stage.image, COUNT), config)?;
    counts(stage, &id)?;
    Ok(id)
}

/// Who waited for one that another waited for, which waited for the first, would wait for ever.
#[test]
fn a_pod_is_saved_twice_at_once_in_two_orders() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("orders")?;
        let one = counting(stage, &pod, &pod_config, "one")?;
        let two = counting(stage, &pod, &pod_config, "two")?;
        for round in 0..3 {
            let orders = [[&one, &two], [&two, &one]];
            let folders = [0, 1].map(|order| tools.join(format!("{round}-{order}")));
            std::thread::scope(|scope| {
                let mut asked = Vec::new();
                for (ids, folder) in orders.into_iter().zip(&folders) {
                    fs_err::create_dir(folder)?;
                    let request = cri::CheckpointPodRequest {
                        pod_sandbox_id: pod.clone(),
                        output_path: folder.display().to_string(),
                        container_ids: ids.map(Clone::clone).into(),
                        ..Default::default()
                    };
                    let channel = stage.channel();
                    let call = |mut c: Client| async move { c.checkpoint_pod(request).await };
                    asked.push(scope.spawn(move || apart(channel, call)));
                }
                for asked in asked {
                    asked.join().expect("a caller")?;
                }
                Ok::<_, anyhow::Error>(())
            })?;
            for folder in &folders {
                ensure!(folder.join("pod.dump").is_file(), "it is whole");
            }
        }
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn who_changes_or_removes_one_that_is_being_saved_waits() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("waits")?;
        let id = counting(stage, &pod, &pod_config, "one")?;
        let (hold, held) = (tools.join("hold"), tools.join("held"));

        let archive = tools.join("changed.tar");
        fs_err::write(&hold, "")?;
        std::thread::scope(|scope| {
            let (channel, request) = (stage.channel(), saving(&id, &archive, 0));
            let call = |mut c: Client| async move { c.checkpoint_container(request).await };
            let saved = scope.spawn(move || apart(channel, call));
            let asked = until("it is being saved", SOON, || held.exists()).map(|()| {
                let limits = cri::LinuxContainerResources { cpu_shares: 333, ..Default::default() };
                let request = cri::UpdateContainerResourcesRequest {
                    container_id: id.clone(),
                    linux: Some(limits),
                    ..Default::default()
                };
                let channel = stage.channel();
                let call =
                    |mut c: Client| async move { c.update_container_resources(request).await };
                scope.spawn(move || apart(channel, call))
            });
            let told =
                stage.container(&id).map(|_| asked.as_ref().is_ok_and(|one| !one.is_finished()));
            fs_err::remove_file(&hold)?;
            saved.join().expect("who saves")?;
            asked?.join().expect("who changes")?;
            ensure!(told?, "it is not changed while it is saved");
            Ok(())
        })?;
        let saved = run(&format!("tar xOf {} spec.dump", archive.display()))?;
        ensure!(!saved.contains("333"), "it is saved as it was: {saved}");
        let now = stage.container(&id)?.resources.and_then(|of| of.linux).unwrap_or_default();
        assert_eq!(now.cpu_shares, 333);

        fs_err::remove_file(&held)?;
        fs_err::write(&hold, "")?;
        std::thread::scope(|scope| {
            let (channel, request) = (stage.channel(), saving(&id, &tools.join("removed.tar"), 0));
            let call = |mut c: Client| async move { c.checkpoint_container(request).await };
            let saved = scope.spawn(move || apart(channel, call));
            let asked = until("it is being saved", SOON, || held.exists()).map(|()| {
                let request = cri::RemoveContainerRequest { container_id: id.clone() };
                let channel = stage.channel();
                let call = |mut c: Client| async move { c.remove_container(request).await };
                scope.spawn(move || apart(channel, call))
            });
            // It is killed at once, and stays until it is saved.
            let ended = stage.ended(&id);
            let waits = asked.as_ref().is_ok_and(|asked| !asked.is_finished());
            fs_err::remove_file(&hold)?;
            let late = saved.join().expect("who saves").err();
            asked?.join().expect("who removes")?;
            assert_eq!(ended?.exit_code, 137);
            ensure!(waits, "it is not removed while it is saved");
            ensure!(late.as_ref().is_none_or(|s| s.code() != Code::DeadlineExceeded), "{late:?}");
            Ok(())
        })?;
        ensure!(stage.container(&id).is_err(), "it is removed");
        Ok(stage.remove_pod(&pod)?)
    })
}
