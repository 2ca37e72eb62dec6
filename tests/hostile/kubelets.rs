//! What no honest kubelet says of a pod and of a container that are there: what lies behind finding them is
//! looked at too.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use berth_grpc::Channel;
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Image, Registry};
use cri::image_service_client::ImageServiceClient;
use cri::runtime_service_client::RuntimeServiceClient;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage, Value,
};
use tempfile::TempDir;
use tonic::Code;

use crate::messages::{Random, Values, message};
use crate::stage::Stage;
use crate::{KUBELETS, SEED, client, input, methods, pids, short, unharmed};

/// They take away what the others are told of, or take as long as they are told.
const LEFT_OUT: [&str; 5] =
    ["StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RemoveImage"];
/// Messages with some of all fields.
const MIXED: usize = 12;

/// A pod in the node's own network, and a container that waits.
struct Scene {
    channel: Channel,
    /// What fields of these names say, wherever they are in a message.
    said: BTreeMap<&'static str, String>,
    pod: String,
    _registry: Registry,
    _folder: TempDir,
}

impl Scene {
    async fn new(stage: &Stage) -> Result<Self> {
        let (registry, folder) = (Registry::start()?, TempDir::new()?);
        let name = Image::busybox()?.push(&registry, "busybox:1")?;
        let channel = berth_grpc::channel(&stage.node.address());
        let image = Some(cri::ImageSpec { image: name.clone(), ..Default::default() });
        let pull = cri::PullImageRequest { image: image.clone(), ..Default::default() };
        ImageServiceClient::new(channel.clone()).pull_image(pull).await?;
        let mut client = RuntimeServiceClient::new(channel.clone());
        let config = Some(pod());
        let run = cri::RunPodSandboxRequest { config: config.clone(), ..Default::default() };
        let pod_sandbox_id = client.run_pod_sandbox(run).await?.into_inner().pod_sandbox_id;
        let create = cri::CreateContainerRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
            config: Some(cri::ContainerConfig {
                metadata: Some(cri::ContainerMetadata { name: "waits".into(), attempt: 0 }),
                image,
                command: ["sleep", "100000"].map(String::from).into(),
                ..Default::default()
            }),
            sandbox_config: config,
        };
        let container_id = client.create_container(create).await?.into_inner().container_id;
        let start = cri::StartContainerRequest { container_id: container_id.clone() };
        client.start_container(start).await?;
        let inside = folder.path().join("of-the-test").display().to_string();
        let said = [
            ("pod_sandbox_id", pod_sandbox_id.clone()),
            ("container_id", container_id),
            ("image", name),
            ("runtime_handler", String::new()),
            // A kubelet is root, and may have files and groups wherever it says.
            ("cgroup_parent", "/berth-tests-hostile".to_owned()),
            ("log_directory", folder.path().display().to_string()),
            ("log_path", "log".to_owned()),
            ("host_path", inside.clone()),
            ("location", inside.clone()),
            ("path", inside),
        ];
        let said = said.into();
        Ok(Self { channel, said, pod: pod_sandbox_id, _registry: registry, _folder: folder })
    }

    /// A message as it would be sent of what is there.
    fn of_what_is_there(&self, message: &mut DynamicMessage) {
        for field in message.descriptor().fields() {
            let one = matches!(field.kind(), Kind::String) && !field.is_list();
            if let Some(text) = self.said.get(field.name()).filter(|_| one) {
                message.set_field(&field, Value::String(text.clone()));
            }
        }
        for (_, value) in message.fields_mut() {
            match value {
                Value::Message(inner) => self.of_what_is_there(inner),
                Value::List(all) => {
                    let inner = all.iter_mut().filter_map(Value::as_message_mut);
                    inner.for_each(|inner| self.of_what_is_there(inner));
                }
                _ => {}
            }
        }
    }

    fn messages(&self, kind: &MessageDescriptor, seed: u64) -> Vec<Vec<u8>> {
        let mut random = Random(seed);
        let mut all =
            vec![message(kind, &mut Values::Limits, 0), message(kind, &mut Values::WrongTypes, 0)];
        all.extend((0..MIXED).map(|_| message(kind, &mut Values::Mixed(&mut random), 0)));
        all.iter_mut().for_each(|message| self.of_what_is_there(message));
        all.iter().map(Message::encode_to_vec).collect()
    }

    async fn pods(&self) -> Result<Vec<String>> {
        let mut client = RuntimeServiceClient::new(self.channel.clone());
        let listed = client.list_pod_sandbox(cri::ListPodSandboxRequest::default()).await?;
        Ok(listed.into_inner().items.into_iter().map(|pod| pod.id).collect())
    }
}

fn pod() -> cri::PodSandboxConfig {
    let network = cri::NamespaceMode::Node.into();
    let namespaces = cri::NamespaceOption { network, ..Default::default() };
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: "there".into(),
            namespace: "hostile".into(),
            uid: "uid-of-there".into(),
            attempt: 0,
        }),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: "/berth-tests-hostile".into(),
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_said_of_a_pod_that_is_there_harms_nothing() -> Result<()> {
    let descriptors = DescriptorPool::decode(berth_proto::FILE_DESCRIPTOR_SET)?;
    let stage = Stage::start()?;
    let node = &stage.node;
    let scene = Scene::new(&stage).await?;
    let before = pids(node)?;
    let mut improper = Vec::new();
    let directed = methods().filter(|(method, ..)| {
        let name = method.rsplit('/').next().unwrap_or_default();
        method.starts_with(KUBELETS) && !LEFT_OUT.contains(&name)
    });
    for ((method, ..), seed) in directed.zip(SEED..) {
        let pods = scene.pods().await?.len();
        let mut more = 0;
        for message in scene.messages(&input(&descriptors, method)?, seed) {
            let status = client::answer(&scene.channel, method, message).await?;
            if !client::is_proper_of(method, &status) {
                improper.push(format!("{method}: {:?}: {}", status.code(), short(&status)));
            }
            more += usize::from(status.code() == Code::Ok && method.ends_with("/RunPodSandbox"));
        }
        let now = scene.pods().await?.len();
        ensure!(now <= pods + more, "{now} pods instead of {pods} and {more} after {method}");
        unharmed(node, &scene.channel, &before).await.with_context(|| format!("after {method}"))?;
    }
    assert!(improper.is_empty(), "{improper:#?}");
    let there = scene.pods().await?;
    ensure!(there.contains(&scene.pod), "it is gone: {there:?}");
    let mut client = RuntimeServiceClient::new(scene.channel.clone());
    for pod_sandbox_id in there {
        client.remove_pod_sandbox(cri::RemovePodSandboxRequest { pod_sandbox_id }).await?;
    }
    let left = node.mounts();
    ensure!(left.is_empty(), "{left:?}");
    node.shims_end()
}
