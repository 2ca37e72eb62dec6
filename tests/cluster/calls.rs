//! Calls of a node's API, many at once: what a program for each would take too long for.

use anyhow::Result;
use berth_grpc::{Channel, MAX_MESSAGE, with_namespace};
use berth_proto::berth::cluster::v1::cluster_client::ClusterClient;
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::images::v1 as images;
use containers::containers_client::ContainersClient;
use futures::{StreamExt, TryStreamExt, stream};
use images::images_client::ImagesClient;
use prost_types::{Any, FieldMask};
use tokio::runtime::{Builder, Runtime};
use tonic::Request;

use crate::member::Member;

/// What containers' specifications are called.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// So many calls are under way.
const AT_ONCE: usize = 16;

/// A client of one node.
pub struct Calls {
    channel: Channel,
    runtime: Runtime,
}

impl Calls {
    /// One of this node, as all its clients are.
    pub fn of(member: &Member) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { channel: berth_grpc::channel(&member.node.address()), runtime })
    }

    /// Calls what is asked for.
    pub fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    /// Makes so many calls, several at once: all of them succeed.
    fn each<F, Answer>(&self, count: usize, call: impl Fn(usize) -> F) -> Result<()>
    where
        F: Future<Output = Result<Answer, tonic::Status>>,
    {
        let calls = stream::iter((0..count).map(&call)).buffer_unordered(AT_ONCE);
        Ok(self.wait(calls.try_for_each(|_| std::future::ready(Ok(()))))?)
    }

    /// What is shown of the cluster.
    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone())
    }

    /// Gives an image as many more names, which `name` says.
    pub fn name_image(
        &self,
        image: &str,
        count: usize,
        name: impl Fn(usize) -> String,
    ) -> Result<()> {
        let request = within(images::GetImageRequest { name: image.to_owned() })?;
        let got = self.wait(self.images().get(request))?.into_inner().image;
        let target = got.unwrap_or_default().target;
        self.each(count, |at| {
            let image =
                images::Image { name: name(at), target: target.clone(), ..Default::default() };
            let request = images::CreateImageRequest { image: Some(image), ..Default::default() };
            let mut client = self.images();
            async move { client.create(within(request)?).await }
        })
    }

    /// Sets an image's labels so many times.
    pub fn label_image(&self, name: &str, count: usize, labels: &[(String, String)]) -> Result<()> {
        self.each(count, |_| {
            let labels = labels.iter().cloned().collect();
            let image = images::Image { name: name.to_owned(), labels, ..Default::default() };
            let (image, update_mask) = (Some(image), mask());
            let request = images::UpdateImageRequest { image, update_mask, ..Default::default() };
            let mut client = self.images();
            async move { client.update(within(request)?).await }
        })
    }

    /// Makes so many containers of an image, which `id` says; nothing of them runs.
    pub fn make_containers(
        &self,
        image: &str,
        count: usize,
        id: impl Fn(usize) -> String,
    ) -> Result<()> {
        self.each(count, |at| {
            let runtime = containers::container::Runtime {
                name: "io.containerd.runc.v2".to_owned(),
                options: None,
            };
            let spec = Any { type_url: SPEC.to_owned(), value: b"{}".to_vec() };
            let container = containers::Container {
                id: id(at),
                image: image.to_owned(),
                runtime: Some(runtime),
                spec: Some(spec),
                ..Default::default()
            };
            let request = containers::CreateContainerRequest { container: Some(container) };
            let mut client = ContainersClient::new(self.channel.clone());
            async move { client.create(within(request)?).await }
        })
    }

    /// Sets a container's labels so many times.
    pub fn label_container(
        &self,
        id: &str,
        count: usize,
        labels: &[(String, String)],
    ) -> Result<()> {
        self.each(count, |_| {
            let labels = labels.iter().cloned().collect();
            let container =
                containers::Container { id: id.to_owned(), labels, ..Default::default() };
            let (container, update_mask) = (Some(container), mask());
            let request = containers::UpdateContainerRequest { container, update_mask };
            let mut client = ContainersClient::new(self.channel.clone());
            async move { client.update(within(request)?).await }
        })
    }
}

fn mask() -> Option<FieldMask> {
    Some(FieldMask { paths: vec!["labels".to_owned()] })
}

fn within<T>(message: T) -> Result<Request<T>, tonic::Status> {
    let namespace = "default".parse();
    let namespace = namespace.map_err(|_| tonic::Status::internal("default is no namespace"))?;
    Ok(with_namespace(message, &namespace))
}
