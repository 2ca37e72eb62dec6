//! containerd.services.mounts.v1.Mounts.

use std::borrow::Cow;
use std::pin::Pin;

use berth_filters::{Adaptor, Filter, label};
use berth_grpc::status;
use berth_proto::containerd::services::mounts::v1 as wire;
use berth_proto::containerd::types;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use wire::mounts_server::Mounts;

use super::Context;
use super::convert::{labels_in, mounts_in, mounts_out};
use crate::mounts::{Activating, Activation, Active};

type Infos = Pin<Box<dyn Stream<Item = Result<wire::ListMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Mounts for Context {
    type ListStream = Infos;

    async fn activate(
        &self,
        request: Request<wire::ActivateRequest>,
    ) -> Result<Response<wire::ActivateResponse>, Status> {
        let caller = self.writer(&request).await?;
        let r = request.into_inner();
        let activating = Activating {
            caller,
            name: r.name,
            mounts: mounts_in(r.mounts),
            labels: labels_in(r.labels),
            temporary: r.temporary,
        };
        let activated = self.activations.activate(activating).await.map_err(status)?;
        Ok(Response::new(wire::ActivateResponse { info: Some(info_out(activated)) }))
    }

    async fn deactivate(
        &self,
        request: Request<wire::DeactivateRequest>,
    ) -> Result<Response<()>, Status> {
        let namespace = berth_grpc::namespace(&request)?;
        let name = request.into_inner().name;
        self.activations.deactivate(namespace.as_str(), &name).await.map_err(status)?;
        Ok(Response::new(()))
    }

    async fn info(
        &self,
        request: Request<wire::InfoRequest>,
    ) -> Result<Response<wire::InfoResponse>, Status> {
        let namespace = berth_grpc::namespace(&request)?;
        let found = self.activations.info(namespace.as_str(), &request.into_inner().name);
        Ok(Response::new(wire::InfoResponse { info: Some(info_out(found.map_err(status)?)) }))
    }

    async fn update(
        &self,
        _: Request<wire::UpdateRequest>,
    ) -> Result<Response<wire::UpdateResponse>, Status> {
        // containerd has none either.
        Err(Status::unimplemented("activated mounts cannot be updated: not implemented"))
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Result<Response<Infos>, Status> {
        let namespace = berth_grpc::namespace(&request)?;
        let filter = Filter::parse_any(&request.into_inner().filters).map_err(status)?;
        let wanted = |activation: &Activation| filter.matches(&Fields(activation));
        let found = self.activations.list(namespace.as_str(), wanted).map_err(status)?;
        let infos =
            found.into_iter().map(|info| Ok(wire::ListMessage { info: Some(info_out(info)) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(infos))))
    }
}

fn info_out(activation: Activation) -> types::ActivationInfo {
    let active = |active: Active| types::ActiveMount {
        mount: mounts_out(vec![active.mount]).pop(),
        mounted_at: Some(berth_grpc::time::to_wire(active.at)),
        mount_point: active.point.display().to_string(),
        data: Default::default(),
    };
    types::ActivationInfo {
        name: activation.name,
        active: activation.active.into_iter().map(active).collect(),
        system: mounts_out(activation.system),
        labels: activation.labels.into_iter().collect(),
    }
}

struct Fields<'a>(&'a Activation);

impl Adaptor for Fields<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name", ..] => Some(Cow::Borrowed(&self.0.name)),
            ["labels", rest @ ..] => label(&self.0.labels, rest),
            _ => None,
        }
    }
}
