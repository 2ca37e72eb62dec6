//! A node that serves kubelets, in a network namespace of its own, and a client of the CRI.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_grpc::Channel;
use berth_proto::containerd::services::sandbox::v1::StoreGetRequest;
use berth_proto::containerd::services::sandbox::v1::store_client::StoreClient;
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Image, Node, Registry, is_root, until};
use cri::image_service_client::ImageServiceClient;
use cri::runtime_service_client::RuntimeServiceClient;
use tempfile::TempDir;
use tonic::{Code, Response, Status};

/// How long something may take that is on its way.
pub const SOON: Duration = Duration::from_secs(60);

/// The network of pods: a bridge, with addresses of both versions, and ports of the node.
const NETWORK: &str = r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "cri0", "isGateway": true, "ipMasq": true, "promiscMode": false,
     "ipam": {"type": "host-local", "dataDir": "DATA", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
              "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}]}"#;

/// A node, and what speaks to it.
pub struct Stage {
    pub node: Node,
    pub registry: Registry,
    /// The name of busybox.
    pub image: String,
    tokio: tokio::runtime::Runtime,
    network: TempDir,
}

/// The configuration of such a node, which a test may add tables to.
pub fn usual(folder: &Path) -> String {
    format!(
        "[cri]\nenabled = true\nrestrict_oom_score_adj = true\n[network]\nconf_dir = {:?}\n\
         bin_dirs = [\"/usr/lib/cni\"]\n",
        folder.join("net.d")
    )
}

/// Runs a test on a node that serves kubelets. Registry, node and clients are in one new network namespace.
pub fn on_a_node(test: impl FnOnce(&mut Stage) -> Result<()> + Send) -> Result<()> {
    on_a_node_of(|folder| Ok(usual(folder)), test)
}

/// The same of a node with another file, made of a folder for files of the test, in whose `net.d` the network is.
pub fn on_a_node_of(
    file: impl FnOnce(&Path) -> Result<String> + Send,
    test: impl FnOnce(&mut Stage) -> Result<()> + Send,
) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    berth_netns::in_new(|| {
        let network = TempDir::new()?;
        let list = NETWORK.replace("DATA", &network.path().join("addresses").display().to_string());
        fs_err::create_dir(network.path().join("net.d"))?;
        fs_err::write(network.path().join("net.d/10-pods.conflist"), list)?;
        let registry = Registry::start()?;
        let image = Image::busybox()?.push(&registry, "busybox:1")?;
        let node = Node::start_with(&file(network.path())?)?;
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        test(&mut Stage { node, registry, image, tokio, network })
    })?
}

impl Stage {
    /// What the node's client of pods and containers answers.
    pub fn runtime<T, F>(
        &self,
        call: impl FnOnce(RuntimeServiceClient<Channel>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.tokio.block_on(async {
            let client = RuntimeServiceClient::new(self.channel());
            let answer = tokio::time::timeout(SOON * 4, call(client)).await;
            Ok(answer.map_err(|_| Status::deadline_exceeded("of the test"))??.into_inner())
        })
    }

    /// The stream that it answers with.
    pub fn stream<T, F>(
        &self,
        call: impl FnOnce(RuntimeServiceClient<Channel>) -> F,
    ) -> Result<tonic::Streaming<T>, Status>
    where
        F: Future<Output = Result<Response<tonic::Streaming<T>>, Status>>,
    {
        self.runtime(call)
    }

    /// What comes next of it.
    pub fn next<T>(&self, stream: &mut tonic::Streaming<T>) -> Result<Option<T>> {
        self.tokio.block_on(async { Ok(tokio::time::timeout(SOON, stream.message()).await??) })
    }

    pub fn tokio(&self) -> &tokio::runtime::Runtime {
        &self.tokio
    }

    /// Where the network of pods is configured.
    pub fn conf_dir(&self) -> std::path::PathBuf {
        self.network.path().join("net.d")
    }

    /// The same of images.
    pub fn images<T, F>(
        &self,
        call: impl FnOnce(ImageServiceClient<Channel>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.tokio.block_on(async {
            let client = ImageServiceClient::new(self.channel());
            let answer = tokio::time::timeout(SOON * 4, call(client)).await;
            Ok(answer.map_err(|_| Status::deadline_exceeded("of the test"))??.into_inner())
        })
    }

    pub fn channel(&self) -> Channel {
        berth_grpc::channel(&self.node.address())
    }

    /// Makes a pod, and answers its number.
    pub fn run_pod(&self, config: &cri::PodSandboxConfig) -> Result<String, Status> {
        self.run_pod_by("", config)
    }

    /// The same by this handler.
    pub fn run_pod_by(
        &self,
        handler: &str,
        config: &cri::PodSandboxConfig,
    ) -> Result<String, Status> {
        let (config, runtime_handler) = (Some(config.clone()), handler.to_owned());
        let request = cri::RunPodSandboxRequest { config, runtime_handler };
        Ok(self.runtime(|mut c| async move { c.run_pod_sandbox(request).await })?.pod_sandbox_id)
    }

    pub fn stop_pod(&self, id: &str) -> Result<(), Status> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.runtime(|mut c| async move { c.stop_pod_sandbox(request).await }).map(drop)
    }

    pub fn remove_pod(&self, id: &str) -> Result<(), Status> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.runtime(|mut c| async move { c.remove_pod_sandbox(request).await }).map(drop)
    }

    pub fn pods(&self, filter: cri::PodSandboxFilter) -> Result<Vec<cri::PodSandbox>, Status> {
        let request = cri::ListPodSandboxRequest { filter: Some(filter) };
        Ok(self.runtime(|mut c| async move { c.list_pod_sandbox(request).await })?.items)
    }

    pub fn pod(&self, id: &str) -> Result<cri::PodSandboxStatus> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        let answer = self.runtime(|mut c| async move { c.pod_sandbox_status(request).await })?;
        anyhow::ensure!(answer.info.contains_key("info"), "{:?}", answer.info);
        answer.status.context("a status")
    }

    /// What people are told of a pod.
    pub fn details(&self, id: &str) -> Result<serde_json::Value> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        let answer = self.runtime(|mut c| async move { c.pod_sandbox_status(request).await })?;
        Ok(serde_json::from_str(answer.info.get("info").context("details")?)?)
    }

    /// Pulls busybox, and answers its number.
    pub fn pull(&self) -> Result<String, Status> {
        self.pull_of(&self.image)
    }

    /// The same of any image.
    pub fn pull_of(&self, image: &str) -> Result<String, Status> {
        let image = Some(cri::ImageSpec { image: image.to_owned(), ..Default::default() });
        let request = cri::PullImageRequest { image, ..Default::default() };
        Ok(self.images(|mut c| async move { c.pull_image(request).await })?.image_ref)
    }

    pub fn create(
        &self,
        pod: &str,
        config: &cri::ContainerConfig,
        pod_config: &cri::PodSandboxConfig,
    ) -> Result<String, Status> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(pod_config.clone()),
        };
        Ok(self.runtime(|mut c| async move { c.create_container(request).await })?.container_id)
    }

    pub fn start(&self, id: &str) -> Result<(), Status> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        self.runtime(|mut c| async move { c.start_container(request).await }).map(drop)
    }

    pub fn stop(&self, id: &str, timeout: i64) -> Result<(), Status> {
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout };
        self.runtime(|mut c| async move { c.stop_container(request).await }).map(drop)
    }

    pub fn remove(&self, id: &str) -> Result<(), Status> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        self.runtime(|mut c| async move { c.remove_container(request).await }).map(drop)
    }

    pub fn container(&self, id: &str) -> Result<cri::ContainerStatus> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let answer = self.runtime(|mut c| async move { c.container_status(request).await })?;
        anyhow::ensure!(answer.info.contains_key("info"), "{:?}", answer.info);
        answer.status.context("a status")
    }

    /// Waits until a container has ended.
    pub fn ended(&self, id: &str) -> Result<cri::ContainerStatus> {
        let exited = cri::ContainerState::ContainerExited as i32;
        until("the container has ended", SOON, || {
            self.container(id).is_ok_and(|status| status.state == exited)
        })?;
        self.container(id)
    }

    pub fn exec(
        &self,
        id: &str,
        command: &[&str],
        timeout: i64,
    ) -> Result<cri::ExecSyncResponse, Status> {
        let cmd = command.iter().map(|word| (*word).to_owned()).collect();
        let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd, timeout };
        self.runtime(|mut c| async move { c.exec_sync(request).await })
    }

    /// A container that runs.
    pub fn started(
        &self,
        pod: &str,
        config: &cri::ContainerConfig,
        pod_config: &cri::PodSandboxConfig,
    ) -> Result<String> {
        let id = self.create(pod, config, pod_config)?;
        self.start(&id)?;
        Ok(id)
    }

    /// What a command in a container prints that has to work.
    pub fn said(&self, id: &str, script: &str) -> Result<String> {
        let answer = self.exec(id, &["sh", "-c", script], 60)?;
        anyhow::ensure!(answer.exit_code == 0, "{script}: {answer:?}");
        Ok(String::from_utf8(answer.stdout)?.trim_end().to_owned())
    }

    /// A folder for logs, and a pod that has it.
    pub fn pod_with_logs(
        &self,
        name: &str,
    ) -> Result<(std::path::PathBuf, cri::PodSandboxConfig, String)> {
        let folder = self.network.path().join("logs").join(name);
        fs_err::create_dir_all(&folder)?;
        let mut config = pod(name);
        config.log_directory = folder.display().to_string();
        let id = self.run_pod(&config)?;
        Ok((folder, config, id))
    }

    /// An extension of a sandbox's record.
    pub fn extension(&self, id: &str, name: &str) -> Result<serde_json::Value> {
        let mut client = StoreClient::new(self.channel());
        let request = StoreGetRequest { sandbox_id: id.to_owned() };
        let request = berth_grpc::with_namespace(request, &"k8s.io".parse()?);
        let found = self.tokio.block_on(client.get(request))?.into_inner().sandbox;
        let value =
            found.and_then(|mut found| found.extensions.remove(name)).context("an extension")?;
        Ok(serde_json::from_slice(&value.value)?)
    }

    /// What was given away of the network's addresses.
    pub fn addresses(&self) -> Result<Vec<String>> {
        let folder = self.network.path().join("addresses/pods");
        let Ok(entries) = fs_err::read_dir(folder) else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.retain(|name| name != "lock" && !name.starts_with("last_reserved_ip"));
        names.sort();
        Ok(names)
    }
}

/// What a client of another thread is answered.
pub fn apart<T, F>(
    channel: Channel,
    call: impl FnOnce(RuntimeServiceClient<Channel>) -> F,
) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let answer = tokio::time::timeout(SOON * 4, call(RuntimeServiceClient::new(channel))).await;
        Ok(answer.map_err(|_| Status::deadline_exceeded("of the test"))??.into_inner())
    })
}

/// A pod's configuration.
pub fn pod(name: &str) -> cri::PodSandboxConfig {
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.to_owned(),
            namespace: "tests".to_owned(),
            uid: format!("uid-of-{name}"),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        annotations: [("note".to_owned(), "kept".to_owned())].into(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: "/berth-tests-cri".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What is said of a call that has to fail.
pub fn refused<T>(answer: Result<T, Status>, code: Code, part: &str) -> Result<()> {
    let Err(status) = answer else { anyhow::bail!("it works, and should not: {part}") };
    anyhow::ensure!(
        status.code() == code && status.message().contains(part),
        "{status:?}, not {part:?}"
    );
    Ok(())
}

/// A container's configuration: a shell that runs this.
pub fn shell(name: &str, image: &str, script: &str) -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(cri::ImageSpec { image: image.to_owned(), ..Default::default() }),
        command: ["sh", "-c", script].map(String::from).into(),
        log_path: format!("{name}.log"),
        linux: Some(cri::LinuxContainerConfig::default()),
        ..Default::default()
    }
}
