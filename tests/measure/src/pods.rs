//! Pods as a kubelet makes them, each with one container that sleeps: what one takes, and how long it takes to be there.
//!
//! Both nodes are in a network namespace of their own, with a network by Debian's CNI plugins each. containerd's pause
//! container runs the program that berth's pods have for their own process, of which a copy is made into an image: what
//! differs is not that program.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Image, Layer, Registry};
use cri::image_service_client::ImageServiceClient;
use cri::runtime_service_client::RuntimeServiceClient;
use serde_json::json;

use crate::daemon::{Kind, Node, Pair, Place};
use crate::memory::pss;
use crate::turns::{take, time};
use crate::{images, report};

/// So many pods run when their memory is read.
const PODS: usize = 20;
/// What is at rest is measured.
const REST: Duration = Duration::from_secs(20);
/// Kubelets are served some time after others are.
const START: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(50);
/// The name of containerd's pause image, which is pushed when the program is known.
const PAUSE: &str = "pause:1";

/// Measures it, in a network namespace.
pub fn measure(rounds: usize) -> Result<()> {
    berth_netns::in_new(|| {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio.block_on(in_namespace(rounds))
    })?
}

async fn in_namespace(rounds: usize) -> Result<()> {
    let registry = Registry::start()?;
    let berth = start(Kind::Berth, "").await?;
    let program = fs_err::read(berth.place.path("state/cri/init/pause"))?;
    let layer = Layer::default().file("pause", 0o755, &program)?;
    let pause = Image::build(vec![layer], json!({"Entrypoint": ["/pause"]}))?;
    let pause = pause.push(&registry, PAUSE)?;
    let containerd = start(Kind::Containerd, &pause).await?;
    let pair = Pair { containerd, berth };
    let image = images::tiny()?.push(&registry, "tiny:1")?;
    for node in pair.nodes() {
        let spec = Some(cri::ImageSpec { image: image.clone(), ..Default::default() });
        let request = cri::PullImageRequest { image: spec, ..Default::default() };
        ImageServiceClient::new(node.client.channel()).pull_image(request).await?;
        // The first pod of containerd's pulls its pause image.
        remove(node, &run(node, &image, "first").await?).await?;
    }

    let turns = take(&pair, rounds, async |node: &Node, turn| {
        let began = Instant::now();
        let pod = run(node, &image, &format!("turn-{turn}")).await?;
        let took = began.elapsed();
        remove(node, &pod).await?;
        Ok(took)
    });
    turns.await?.report("a pod until its container runs");
    let turns = take(&pair, rounds, async |node: &Node, turn| {
        let pod = run(node, &image, &format!("away-{turn}")).await?;
        time(remove(node, &pod)).await
    });
    turns.await?.report("a pod's removal");
    many(&pair, &image).await
}

/// Memory of many pods, by what there is more of it than without them.
async fn many(pair: &Pair, image: &str) -> Result<()> {
    tokio::time::sleep(REST).await;
    let before = [memory(&pair.containerd)?, memory(&pair.berth)?];
    let mut pods = Vec::new();
    for node in pair.nodes() {
        for number in 0..PODS {
            pods.push((node, run(node, image, &format!("many-{number}")).await?));
        }
    }
    tokio::time::sleep(REST).await;
    let after = [memory(&pair.containerd)?, memory(&pair.berth)?];
    let each = |node: usize| after[node].saturating_sub(before[node]) as f64 / PODS as f64;
    report::figures("memory of a pod with one that sleeps", "kB", each(0), each(1));
    let services = |node: &Node| node.processes().iter().map(|pid| pss(*pid)).sum::<Result<u64>>();
    let (containerd, berth) = (services(&pair.containerd)?, services(&pair.berth)?);
    let what = format!("the node's own processes, with {PODS}");
    report::figures(&what, "kB", containerd as f64, berth as f64);
    for (node, pod) in pods {
        remove(node, &pod).await?;
    }
    Ok(())
}

/// Of the node's processes, its shims and what runs below them.
fn memory(node: &Node) -> Result<u64> {
    let shims = node.shims();
    let below = shims.iter().flat_map(|shim| crate::daemon::children_of(*shim));
    node.processes().into_iter().chain(shims.clone()).chain(below).map(pss).sum()
}

async fn start(kind: Kind, pause: &str) -> Result<Node> {
    let place = Place::new(kind)?;
    let folder = place.path("net.d");
    fs_err::create_dir(&folder)?;
    fs_err::write(folder.join("10-pods.conflist"), network(kind, &place.path("addresses")))?;
    place.configure(&match kind {
        Kind::Containerd => format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\naddress = {:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {pause:?}\nrestrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = {folder:?}\n",
            place.path("root"),
            place.path("state"),
            place.socket(),
        ),
        Kind::Berth => format!(
            "root = {:?}\nstate = {:?}\naddress = {:?}\n[cri]\nenabled = true\n\
             restrict_oom_score_adj = true\n[network]\nbin_dirs = [\"/usr/lib/cni\"]\nconf_dir = {folder:?}\n",
            place.path("root"),
            place.path("state"),
            place.socket(),
        ),
    })?;
    let node = Node::start_at(place).await?;
    let ready = async {
        let mut client = RuntimeServiceClient::new(node.client.channel());
        while client.version(cri::VersionRequest::default()).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::time::timeout(START, ready).await.context("it does not serve kubelets")?;
    Ok(node)
}

/// A bridge of the node's own.
fn network(kind: Kind, addresses: &Path) -> String {
    let (bridge, subnet) = match kind {
        Kind::Containerd => ("pods0", "10.81.0.0/16"),
        Kind::Berth => ("pods1", "10.82.0.0/16"),
    };
    json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [
        {"type": "bridge", "bridge": bridge, "isGateway": true, "ipMasq": false,
         "ipam": {"type": "host-local", "dataDir": addresses, "ranges": [[{"subnet": subnet}]]}}
    ]})
    .to_string()
}

/// Makes a pod and starts a container in it. Answers the pod's number.
async fn run(node: &Node, image: &str, name: &str) -> Result<String> {
    let mut client = RuntimeServiceClient::new(node.client.channel());
    let config = pod(name);
    let request = cri::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
    let pod = client.run_pod_sandbox(request).await.context("run a pod")?;
    let pod = pod.into_inner().pod_sandbox_id;
    let container = cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: "sleep".into(), attempt: 0 }),
        image: Some(cri::ImageSpec { image: image.to_owned(), ..Default::default() }),
        command: ["sleep", "1000000"].map(String::from).into(),
        linux: Some(cri::LinuxContainerConfig::default()),
        ..Default::default()
    };
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(container),
        sandbox_config: Some(config),
    };
    let made = client.create_container(request).await.context("create a container")?;
    let container_id = made.into_inner().container_id;
    let request = cri::StartContainerRequest { container_id };
    client.start_container(request).await.context("start a container")?;
    Ok(pod)
}

async fn remove(node: &Node, pod: &str) -> Result<()> {
    let mut client = RuntimeServiceClient::new(node.client.channel());
    let pod_sandbox_id = pod.to_owned();
    client
        .stop_pod_sandbox(cri::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() })
        .await
        .context("stop a pod")?;
    client
        .remove_pod_sandbox(cri::RemovePodSandboxRequest { pod_sandbox_id })
        .await
        .context("remove a pod")?;
    Ok(())
}

fn pod(name: &str) -> cri::PodSandboxConfig {
    let folder = std::env::temp_dir().join("berth-measure-logs");
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.to_owned(),
            namespace: "measure".to_owned(),
            uid: name.to_owned(),
            attempt: 0,
        }),
        log_directory: folder.display().to_string(),
        linux: Some(cri::LinuxPodSandboxConfig::default()),
        ..Default::default()
    }
}
