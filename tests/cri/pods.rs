//! The life of pods.

use anyhow::{Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{run, until};
use tonic::Code;

use crate::stage::{SOON, on_a_node, pod, refused};

const READY: i32 = cri::PodSandboxState::SandboxReady as i32;
const NOT_READY: i32 = cri::PodSandboxState::SandboxNotready as i32;

#[test]
fn a_pod_is_made_and_shown_and_taken_away_whole() -> Result<()> {
    on_a_node(|stage| {
        let config = pod("web");
        let id = stage.run_pod(&config)?;
        // A retry joins what is there; another configuration of the same name is refused.
        assert_eq!(stage.run_pod(&config)?, id);
        let other = cri::PodSandboxConfig { hostname: "other".into(), ..config.clone() };
        refused(stage.run_pod(&other), Code::Unknown, "is reserved for")?;

        let status = stage.pod(&id[..12])?;
        assert_eq!((&status.id, status.state, &status.metadata), (&id, READY, &config.metadata));
        assert_eq!((&status.labels, &status.annotations), (&config.labels, &config.annotations));
        ensure!(status.created_at > 0);
        let network = status.network.unwrap_or_default();
        ensure!(network.ip.starts_with("10.77.0."), "{network:?}");
        ensure!(network.additional_ips.iter().any(|ip| ip.ip.starts_with("fd77:")), "{network:?}");
        run(&format!("busybox ping -c 1 -W 5 {}", network.ip))?;

        // As others see it on containerd.
        let containers = stage.node.ctr("-n k8s.io containers ls").output()?.ok()?;
        ensure!(containers.contains(&id), "{containers}");
        let tasks = stage.node.ctr("-n k8s.io tasks ls").output()?.ok()?;
        let task = tasks.lines().find(|line| line.starts_with(&id)).unwrap_or_default();
        ensure!(task.contains("RUNNING"), "{tasks}");

        let listed = |filter| stage.pods(filter).map(|pods| pods.len());
        let label = |value: &str| cri::PodSandboxFilter {
            label_selector: [("app".to_owned(), value.to_owned())].into(),
            ..Default::default()
        };
        assert_eq!((listed(label("web"))?, listed(label("x"))?), (1, 0));

        // What it is to use from now on is on record.
        let update = |id: &str| {
            let resources = cri::LinuxContainerResources { cpu_shares: 512, ..Default::default() };
            let request = cri::UpdatePodSandboxResourcesRequest {
                pod_sandbox_id: id.to_owned(),
                resources: Some(resources),
                ..Default::default()
            };
            stage.runtime(|mut c| async move { c.update_pod_sandbox_resources(request).await })
        };
        refused(update("none"), Code::NotFound, "failed to find sandbox")?;
        update(&id)?;
        let kept = serde_json::json!({"Overhead": null, "Resources": {"cpu_shares": 512}});
        assert_eq!(stage.extension(&id, "updated-resources")?, kept);
        let told = stage.details(&id)?;
        assert_eq!(
            (&told["overhead"], &told["resources"]),
            (&kept["Overhead"], &kept["Resources"])
        );
        assert_eq!(told["runtimeType"], "io.containerd.runc.v2");
        assert_eq!(told["runtimeOptions"]["systemd_cgroup"], false);
        assert_eq!(told["cniResult"]["Interfaces"]["eth0"]["IPConfigs"][0]["IP"], network.ip);
        assert_eq!(told["sandboxMetadata"]["ID"], id);
        ensure!(told["runtimeSpec"]["process"]["args"].is_array(), "{told}");

        stage.stop_pod(&id)?;
        stage.stop_pod(&id)?;
        assert_eq!(stage.pod(&id)?.state, NOT_READY);
        assert_eq!(stage.addresses()?, [""; 0]);
        stage.remove_pod(&id)?;
        stage.remove_pod(&id)?;
        assert_eq!(listed(cri::PodSandboxFilter::default())?, 0);
        let status = cri::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let gone = stage.runtime(|mut c| async move { c.pod_sandbox_status(status).await });
        refused(gone, Code::NotFound, "not found")?;
        let left = stage.node.mounts();
        ensure!(left.is_empty(), "{left:?}");
        stage.node.shims_end()
    })
}

#[test]
fn a_pod_that_cannot_be_leaves_nothing() -> Result<()> {
    on_a_node(|stage| {
        let nameless = cri::PodSandboxConfig::default();
        refused(stage.run_pod(&nameless), Code::Unknown, "must include metadata")?;
        let mut sysctl = pod("sysctl");
        let linux = sysctl.linux.get_or_insert_default();
        linux.sysctls.insert("net.there.is.no.such".to_owned(), "1".to_owned());
        refused(stage.run_pod(&sysctl), Code::Unknown, "failed to start sandbox")?;
        assert_eq!(stage.pods(cri::PodSandboxFilter::default())?, []);
        assert_eq!(stage.addresses()?, [""; 0]);
        let containers = stage.node.ctr("-n k8s.io containers ls -q").output()?.ok()?;
        assert_eq!(containers.trim(), "");
        stage.node.shims_end()?;
        // The name is free again.
        sysctl.linux.get_or_insert_default().sysctls.clear();
        let id = stage.run_pod(&sysctl)?;
        Ok(stage.remove_pod(&id)?)
    })
}

#[test]
fn pods_outlive_the_service_and_their_ends_are_seen() -> Result<()> {
    on_a_node(|stage| {
        let (one, other) = (stage.run_pod(&pod("one"))?, stage.run_pod(&pod("other"))?);
        let ip = stage.pod(&one)?.network.unwrap_or_default().ip;
        stage.node.kill_service("berth-cri")?;
        until("the pods are known again", SOON, || {
            stage.pods(cri::PodSandboxFilter::default()).is_ok_and(|pods| pods.len() == 2)
        })?;
        let status = stage.pod(&one)?;
        assert_eq!((status.state, status.network.unwrap_or_default().ip), (READY, ip));
        // The own process of one ends.
        stage.node.ctr(&format!("-n k8s.io tasks kill -s SIGKILL {other}")).output()?.ok()?;
        until("its end is seen", SOON, || {
            stage.pod(&other).is_ok_and(|pod| pod.state == NOT_READY)
        })?;
        assert_eq!(stage.pod(&one)?.state, READY);
        for id in [&one, &other] {
            stage.remove_pod(id)?;
        }
        stage.node.shims_end()
    })
}
