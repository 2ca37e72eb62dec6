//! Kubernetes' CRI: the messages of `runtime.v1` as they are typed and shown, and single pods and containers.

pub mod read;
pub mod shown;
pub mod write;

use std::sync::LazyLock;

use anyhow::{Context, Result};
use berth_proto::FILE_DESCRIPTOR_SET;
use berth_proto::runtime::v1 as wire;
use prost::Name;
use prost_reflect::{DescriptorPool, MessageDescriptor};

use crate::client::{Client, Step};

/// The bytes of an environment variable's value, which are text in files.
const TEXT_IN_BYTES: &str = "runtime.v1.KeyValue.value";

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("what was compiled in can be decoded")
});

fn descriptor<M: Name>() -> MessageDescriptor {
    POOL.get_message_by_name(&M::full_name()).expect("every message is in the set")
}

/// How a pod is; its number may be cut short.
pub async fn pod(
    client: &Client,
    id: &str,
    verbose: bool,
) -> Result<(wire::PodSandboxStatus, wire::PodSandboxStatusResponse)> {
    let doing = || format!("look at pod {id}");
    let request = wire::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose };
    let answer = client.cri().pod_sandbox_status(client.request(request)).await.step(doing)?;
    let answer = answer.into_inner();
    let status = answer.status.clone().context("the answer has no status").with_context(doing)?;
    Ok((status, answer))
}

/// How a container is; its number may be cut short.
pub async fn container(
    client: &Client,
    id: &str,
    verbose: bool,
) -> Result<(wire::ContainerStatus, wire::ContainerStatusResponse)> {
    let doing = || format!("look at container {id}");
    let request = wire::ContainerStatusRequest { container_id: id.to_owned(), verbose };
    let answer = client.cri().container_status(client.request(request)).await.step(doing)?;
    let answer = answer.into_inner();
    let status = answer.status.clone().context("the answer has no status").with_context(doing)?;
    Ok((status, answer))
}

/// An image as a client names it.
pub fn image_spec(name: &str) -> wire::ImageSpec {
    wire::ImageSpec { image: name.to_owned(), ..Default::default() }
}
