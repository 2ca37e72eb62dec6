//! containerd's Namespaces service.

use berth_grpc::status;
use berth_ids::{Labels, Namespace};
use berth_proto::containerd::services::namespaces::v1 as wire;
use tonic::{Request, Response, Status};

use super::wire::{Answer, change, labels, mask, required, to_labels};
use crate::namespaces::Namespaces;

pub struct Service(pub Namespaces);

#[tonic::async_trait]
impl wire::namespaces_server::Namespaces for Service {
    async fn get(
        &self,
        request: Request<wire::GetNamespaceRequest>,
    ) -> Answer<wire::GetNamespaceResponse> {
        let name = name(&request.get_ref().name)?;
        let found = self.0.get(&name).map_err(status)?;
        Ok(Response::new(wire::GetNamespaceResponse { namespace: to_wire(&name, found) }))
    }

    async fn list(
        &self,
        _request: Request<wire::ListNamespacesRequest>,
    ) -> Answer<wire::ListNamespacesResponse> {
        // containerd has a filter here that it does not apply either.
        let found = self.0.list().map_err(status)?;
        let namespaces = found.into_iter().filter_map(|(name, labels)| to_wire(&name, labels));
        Ok(Response::new(wire::ListNamespacesResponse { namespaces: namespaces.collect() }))
    }

    async fn create(
        &self,
        request: Request<wire::CreateNamespaceRequest>,
    ) -> Answer<wire::CreateNamespaceResponse> {
        let wanted = request.into_inner().namespace;
        let wanted = wanted.ok_or_else(required("namespace must be set"))?;
        let name = name(&wanted.name)?;
        let made = self.0.create(&name, labels(wanted.labels)).await.map_err(status)?;
        Ok(Response::new(wire::CreateNamespaceResponse { namespace: to_wire(&name, made) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateNamespaceRequest>,
    ) -> Answer<wire::UpdateNamespaceResponse> {
        let wire::UpdateNamespaceRequest { namespace, update_mask } = request.into_inner();
        let wanted = namespace.ok_or_else(required("namespace must be set"))?;
        let name = name(&wanted.name)?;
        let object = || format!("namespace {:?}", wanted.name);
        let mask = mask(update_mask, &["labels"], &["labels"], object)?;
        let change = change(&mask, "labels", labels(wanted.labels));
        let updated = self.0.update(&name, change).await.map_err(status)?;
        Ok(Response::new(wire::UpdateNamespaceResponse { namespace: to_wire(&name, updated) }))
    }

    async fn delete(&self, request: Request<wire::DeleteNamespaceRequest>) -> Answer<()> {
        self.0.delete(&name(&request.get_ref().name)?).await.map_err(status)?;
        Ok(Response::new(()))
    }
}

pub fn name(text: &str) -> Result<Namespace, Status> {
    text.parse().map_err(|error: berth_ids::Error| status(error))
}

fn to_wire(name: &Namespace, labels: Labels) -> Option<wire::Namespace> {
    Some(wire::Namespace { name: name.to_string(), labels: to_labels(labels) })
}
