//! Many pods at once, and all services killed below them. `BERTH_PODS` and `BERTH_ROUNDS` make it more.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{run, until};
use cri::runtime_service_client::RuntimeServiceClient;
use futures::{StreamExt, TryStreamExt};

use crate::stage::{SOON, Stage, on_a_node, pod, shell};

/// So many pods, so many times.
const PODS: usize = 30;
const ROUNDS: usize = 3;
/// So many are made or removed at once.
const AT_ONCE: usize = 10;
/// What the service may hold more of at the end than after the first whole round of the same process, in KiB.
const GROWTH: u64 = 4 << 10;
const READY: i32 = cri::PodSandboxState::SandboxReady as i32;

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

#[test]
fn many_pods_come_and_go_and_outlive_all_services() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (pods, rounds) = (setting("BERTH_PODS", PODS), setting("BERTH_ROUNDS", ROUNDS));
        let mut held = Vec::new();
        for round in 0..rounds {
            let made = make(stage, round, pods)?;
            let addresses: std::collections::BTreeSet<_> = made.values().collect();
            assert_eq!((made.len(), addresses.len()), (pods, pods), "no two have one address");
            assert_eq!(stage.node.shims().len(), pods, "one shim for each pod");
            if round == 0 {
                for service in ["cri", "runtime", "bundle", "distribution", "gateway"] {
                    stage.node.kill_service(&format!("berth-{service}"))?;
                }
                until("all pods are known again, and ready", SOON, || {
                    let listed = stage.pods(cri::PodSandboxFilter::default());
                    listed.is_ok_and(|listed| {
                        listed.len() == pods && listed.iter().all(|pod| pod.state == READY)
                    })
                })?;
                for (id, ip) in &made {
                    assert_eq!(&stage.pod(id)?.network.context("a network")?.ip, ip);
                }
            }
            remove(stage, made.keys())?;
            assert_eq!(stage.pods(cri::PodSandboxFilter::default())?, []);
            assert_eq!(stage.addresses()?, [""; 0]);
            let left = stage.node.mounts();
            ensure!(left.is_empty(), "{left:?}");
            let links = run("ip -o link")?;
            ensure!(!links.contains("veth"), "{links}");
            stage.node.shims_end()?;
            held.push(anonymous(stage.node.service_pid("berth-cri")?)?);
        }
        // In the first round it was killed, and has only removed since: it had not made any pod by then.
        let first = *held.get(1).context("two rounds at least")?;
        let last = held[held.len() - 1];
        ensure!(last < first + GROWTH, "KiB after each round: {held:?}");
        stage.node.fsck()
    })
}

/// Pods with a container each: their numbers, and their addresses.
fn make(stage: &Stage, round: usize, pods: usize) -> Result<BTreeMap<String, String>> {
    let making = futures::stream::iter(0..pods).map(|number| async move {
        let mut client = RuntimeServiceClient::new(stage.channel());
        let config = pod(&format!("many-{round}-{number}"));
        let request = cri::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let id = client.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: id.clone(),
            config: Some(shell("sleeps", &stage.image, "sleep 100000")),
            sandbox_config: Some(config),
        };
        let container_id = client.create_container(request).await?.into_inner().container_id;
        client.start_container(cri::StartContainerRequest { container_id }).await?;
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let status = client.pod_sandbox_status(request).await?.into_inner().status;
        let network = status.and_then(|status| status.network).context("a network")?;
        Ok::<_, anyhow::Error>((id, network.ip))
    });
    stage.tokio().block_on(making.buffer_unordered(AT_ONCE).try_collect())
}

fn remove<'a>(stage: &Stage, ids: impl Iterator<Item = &'a String>) -> Result<()> {
    let removing = futures::stream::iter(ids.cloned().collect::<Vec<_>>()).map(|id| async move {
        let mut client = RuntimeServiceClient::new(stage.channel());
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.clone() };
        client.stop_pod_sandbox(request).await?;
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id };
        client.remove_pod_sandbox(request).await?;
        Ok::<_, anyhow::Error>(())
    });
    stage.tokio().block_on(removing.buffer_unordered(AT_ONCE).try_collect())
}

/// Memory of a process that is its own, in KiB.
fn anonymous(pid: u32) -> Result<u64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("a figure")?;
    Ok(number.parse()?)
}
