//! What is asked of a pod while it is being stopped.

use anyhow::{Context, Result, ensure};
use berth_grpc::Channel;
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Signal, until};
use cri::runtime_service_client::RuntimeServiceClient;
use tonic::Code;

use crate::stage::{SOON, apart, on_a_node, on_a_node_of, pod, refused, shell};
use crate::troubles::hanging;

type Client = RuntimeServiceClient<Channel>;

fn stopping(pod: &str) -> cri::StopPodSandboxRequest {
    cri::StopPodSandboxRequest { pod_sandbox_id: pod.to_owned() }
}

#[test]
fn a_pod_that_is_being_stopped_is_not_handed_on() -> Result<()> {
    on_a_node_of(hanging, |stage| {
        let folder = stage.conf_dir().parent().context("a folder")?.to_owned();
        let config = pod("stopped");
        let id = stage.run_pod(&config)?;
        let held = folder.join("holds-DEL");
        fs_err::write(&held, "")?;
        let taken = "is reserved for";
        std::thread::scope(|scope| {
            let (channel, request) = (stage.channel(), stopping(&id));
            let call = |mut c: Client| async move { c.stop_pod_sandbox(request).await };
            let stopped = scope.spawn(move || apart(channel, call));
            let meanwhile =
                until("it is being detached", SOON, || folder.join("began-DEL").exists())
                    .and_then(|()| refused(stage.run_pod(&config), Code::Unknown, taken));
            let waits = !stopped.is_finished();
            fs_err::remove_file(&held)?;
            stopped.join().expect("who stops it")?;
            meanwhile?;
            ensure!(waits, "it was asked for while it was being stopped");
            Ok(())
        })?;
        // Its name is its own until it is removed.
        refused(stage.run_pod(&config), Code::Unknown, taken)?;
        stage.remove_pod(&id)?;
        let next = stage.run_pod(&config)?;
        ensure!(next != id, "it is another");
        Ok(stage.remove_pod(&next)?)
    })
}

#[test]
fn nothing_is_left_of_a_container_whose_pod_was_stopped_while_it_was_made() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (_, pod_config, id) = stage.pod_with_logs("stopped")?;
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: id.clone(),
            config: Some(shell("late", &stage.image, "sleep 100000")),
            sandbox_config: Some(pod_config),
        };
        let service = stage.node.service_pid("berth-cri")?;
        let calls = std::env::temp_dir().join(format!("berth-cri.{service}.tasks.log"));
        // Its root file system is not made until then.
        stage.node.signal_service("berth-bundle", Signal::STOP)?;
        std::thread::scope(|scope| {
            let channel = stage.channel();
            let call = |mut c: Client| async move { c.create_container(request).await };
            let made = scope.spawn(move || apart(channel, call));
            let under_way = until("it is being made", SOON, || {
                let asked = stage.node.signal_service("berth-cri", Signal::USR1);
                let told = fs_err::read_to_string(&calls);
                asked.is_ok() && told.is_ok_and(|told| told.contains("CreateContainer"))
            });
            let (channel, request) = (stage.channel(), stopping(&id));
            let call = |mut c: Client| async move { c.stop_pod_sandbox(request).await };
            let stopped = scope.spawn(move || apart(channel, call));
            let not_ready = cri::PodSandboxState::SandboxNotready as i32;
            let ends = until("the pod is being stopped", SOON, || {
                stage.pod(&id).is_ok_and(|pod| pod.state == not_ready)
            });
            stage.node.signal_service("berth-bundle", Signal::CONT)?;
            let _ = fs_err::remove_file(&calls);
            let made = made.join().expect("who makes it");
            stopped.join().expect("who stops it")?;
            under_way.and(ends)?;
            refused(made, Code::Unknown, "is not running")
        })?;
        let request = cri::ListContainersRequest::default();
        let listed = stage.runtime(|mut c| async move { c.list_containers(request).await })?;
        assert_eq!(listed.containers, []);
        let on_record = stage.node.ctr("-n k8s.io containers ls -q").output()?.ok()?;
        assert_eq!(on_record.trim(), id, "the pod's own alone");
        let snapshots = stage.node.ctr("-n k8s.io snapshots ls").output()?.ok()?;
        ensure!(!snapshots.contains("Active"), "{snapshots}");
        stage.remove_pod(&id)?;
        stage.node.shims_end()
    })
}
