//! `containerd.services.containers.v1.Containers`.

use std::time::SystemTime;

use berth_grpc::{lease, namespace, status};
use berth_proto::containerd::services::containers::v1 as wire;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};
use wire::container::Runtime as WireRuntime;
use wire::containers_server::Containers as Api;

use super::wire::{about, any, anys, into_wire_any, runtime, time, wire_anys};
use crate::containers::{Containers, Update};
use crate::error::Error;
use crate::records::{Container, Runtime};

/// Serves containers.
pub(super) struct Service(pub(super) Containers);

type Answer<T> = Result<Response<T>, Status>;

/// A streamed list is read ahead of a slow reader by two parts of so many containers.
const PART: usize = 64;
/// A part with so many bytes of specifications is full.
const PART_BYTES: usize = 256 << 10;

#[tonic::async_trait]
impl Api for Service {
    async fn get(
        &self,
        request: Request<wire::GetContainerRequest>,
    ) -> Answer<wire::GetContainerResponse> {
        let ns = namespace(&request)?;
        let id = request.into_inner().id;
        about(&id, "");
        let found = self.0.get(&ns, &id).map_err(status)?;
        Ok(Response::new(wire::GetContainerResponse { container: Some(to_wire(found)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Answer<wire::ListContainersResponse> {
        let ns = namespace(&request)?;
        let mut containers = Vec::new();
        let keep = |container: Container| {
            containers.push(to_wire(container));
            true
        };
        self.0.list(&ns, &request.into_inner().filters, keep).map_err(status)?;
        Ok(Response::new(wire::ListContainersResponse { containers }))
    }

    type ListStreamStream = BoxStream<'static, Result<wire::ListContainerMessage, Status>>;

    async fn list_stream(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Answer<Self::ListStreamStream> {
        let ns = namespace(&request)?;
        let filters = request.into_inner().filters;
        berth_filters::Filter::parse_any(&filters).map_err(|e| status(Error::from(e)))?;
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let containers = self.0.clone();
        // Reading waits for a slow client: on a thread that may.
        drop(tokio::task::spawn_blocking(move || {
            let (mut part, mut bytes) = (Vec::with_capacity(PART), 0);
            let send = |container: Container| {
                bytes += container.spec.as_ref().map_or(0, |spec| spec.value.len());
                part.push(Ok(wire::ListContainerMessage { container: Some(to_wire(container)) }));
                if part.len() < PART && bytes < PART_BYTES {
                    return true;
                }
                bytes = 0;
                let full = std::mem::replace(&mut part, Vec::with_capacity(PART));
                sender.blocking_send(full).is_ok()
            };
            if let Err(error) = containers.list(&ns, &filters, send) {
                part.push(Err(status(error)));
            }
            // A client that went away does not want to know.
            let _ = sender.blocking_send(part);
        }));
        let parts = tokio_stream::wrappers::ReceiverStream::new(receiver);
        Ok(Response::new(Box::pin(parts.flat_map(futures::stream::iter))))
    }

    async fn create(
        &self,
        request: Request<wire::CreateContainerRequest>,
    ) -> Answer<wire::CreateContainerResponse> {
        let ns = namespace(&request)?;
        self.0.under(&ns, lease(&request).as_deref()).await.map_err(status)?;
        let container = from_wire(request.into_inner().container)?;
        about(&container.id, "");
        let made = self.0.create(&ns, container).await.map_err(status)?;
        Ok(Response::new(wire::CreateContainerResponse { container: Some(to_wire(made)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateContainerRequest>,
    ) -> Answer<wire::UpdateContainerResponse> {
        let ns = namespace(&request)?;
        self.0.under(&ns, lease(&request).as_deref()).await.map_err(status)?;
        let request = request.into_inner();
        let paths = request.update_mask.unwrap_or_default().paths;
        let update = Update { new: from_wire(request.container)?, paths };
        about(&update.new.id, "");
        let updated = self.0.update(&ns, update).await.map_err(status)?;
        Ok(Response::new(wire::UpdateContainerResponse { container: Some(to_wire(updated)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteContainerRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let id = request.into_inner().id;
        about(&id, "");
        self.0.delete(&ns, &id).await.map_err(status)?;
        Ok(Response::new(()))
    }
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn from_wire(container: Option<wire::Container>) -> Result<Container, Status> {
    let missing = || status(Error::Invalid("container must be set".into()));
    let container = container.ok_or_else(missing)?;
    let given = container.runtime.unwrap_or_default();
    Ok(Container {
        id: container.id,
        labels: container.labels.into_iter().collect(),
        image: container.image,
        runtime: runtime(given.name, given.options),
        spec: container.spec.map(any),
        snapshotter: container.snapshotter,
        snapshot_key: container.snapshot_key,
        sandbox: container.sandbox,
        extensions: anys(container.extensions),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    })
}

fn to_wire(container: Container) -> wire::Container {
    let Runtime { name, options } = container.runtime;
    wire::Container {
        id: container.id,
        labels: container.labels.into_iter().collect(),
        image: container.image,
        runtime: Some(WireRuntime { name, options: options.map(into_wire_any) }),
        spec: container.spec.map(into_wire_any),
        snapshotter: container.snapshotter,
        snapshot_key: container.snapshot_key,
        created_at: time(container.created),
        updated_at: time(container.updated),
        extensions: wire_anys(&container.extensions),
        sandbox: container.sandbox,
    }
}
