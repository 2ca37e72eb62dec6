//! containerd's Namespaces service.

use berth_grpc::status;
use berth_ids::{Labels, Namespace};
use berth_proto::containerd::services::namespaces::v1 as wire;
use prost_types::FieldMask;
use tonic::{Request, Response, Status};

use super::wire::{Answer, labels, required, to_labels};
use crate::error::Error;
use crate::namespaces::Namespaces;
use crate::shared::LabelChange;

pub struct Service(pub Namespaces);

#[tonic::async_trait]
impl wire::namespaces_server::Namespaces for Service {
    async fn get(
        &self,
        request: Request<wire::GetNamespaceRequest>,
    ) -> Answer<wire::GetNamespaceResponse> {
        // A namespace comes into being by its first use: before it, it has no labels. The first
        // call of containerd's Go client is this one.
        let name = name(&request.get_ref().name)?;
        let found = self.0.get(&name).map_err(status)?.unwrap_or_default();
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
        let given = labels(wanted.labels);
        let change = change(update_mask, &given)?;
        self.0.update(&name, change, given).await.map_err(status)?;
        // containerd answers without the namespace.
        Ok(Response::new(wire::UpdateNamespaceResponse::default()))
    }

    async fn delete(&self, request: Request<wire::DeleteNamespaceRequest>) -> Answer<()> {
        self.0.delete(&name(&request.get_ref().name)?).await.map_err(status)?;
        Ok(Response::new(()))
    }
}

pub fn name(text: &str) -> Result<Namespace, Status> {
    text.parse().map_err(|error: berth_ids::Error| status(error))
}

/// What an update changes: the labels that the mask names one by one, which is all that it may, else
/// all.
#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn change(mask: Option<FieldMask>, given: &Labels) -> Result<LabelChange, Status> {
    let paths = mask.unwrap_or_default().paths;
    if paths.is_empty() {
        return Ok(LabelChange::Replace(given.clone()));
    }
    let value = |path: &String| match path.strip_prefix("labels.") {
        Some(key) => Ok((key.to_owned(), given.get(key).cloned().unwrap_or_default())),
        None => Err(status(Error::NamespaceField(path.clone()))),
    };
    Ok(LabelChange::Set(paths.iter().map(value).collect::<Result<_, _>>()?))
}

fn to_wire(name: &Namespace, labels: Labels) -> Option<wire::Namespace> {
    Some(wire::Namespace { name: name.to_string(), labels: to_labels(labels) })
}
