//! containerd's Leases service.

use berth_grpc::{namespace, status};
use berth_proto::containerd::services::leases::v1 as wire;
use tonic::{Request, Response, Status};

use super::wire::{Answer, filter, labels, required, stamp, to_labels};
use crate::leases::resources::Resource;
use crate::leases::{Leases, Named};

pub struct Service(pub Leases);

#[tonic::async_trait]
impl wire::leases_server::Leases for Service {
    async fn create(&self, request: Request<wire::CreateRequest>) -> Answer<wire::CreateResponse> {
        let namespace = namespace(&request)?;
        let wire::CreateRequest { id, labels: wanted } = request.into_inner();
        let id = if id.is_empty() { uuid::Uuid::new_v4().to_string() } else { id };
        let made = self.0.create(&namespace, &id, labels(wanted)).await.map_err(status)?;
        Ok(Response::new(wire::CreateResponse { lease: Some(to_wire(made)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Answer<()> {
        let namespace = namespace(&request)?;
        let wire::DeleteRequest { id, sync } = request.into_inner();
        self.0.delete(&namespace, &id, sync).await.map_err(status)?;
        Ok(Response::new(()))
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Answer<wire::ListResponse> {
        let namespace = namespace(&request)?;
        let filter = filter(&request.get_ref().filters)?;
        let found = self.0.list(&namespace, filter).await.map_err(status)?;
        let leases = found.into_iter().map(to_wire).collect();
        Ok(Response::new(wire::ListResponse { leases }))
    }

    async fn add_resource(&self, request: Request<wire::AddResourceRequest>) -> Answer<()> {
        let namespace = namespace(&request)?;
        let wire::AddResourceRequest { id, resource: wanted } = request.into_inner();
        self.0.resolve(&namespace, &id).map_err(status)?;
        self.0.add(&namespace, &id, &resource(wanted)?).await.map_err(status)?;
        Ok(Response::new(()))
    }

    async fn delete_resource(&self, request: Request<wire::DeleteResourceRequest>) -> Answer<()> {
        let namespace = namespace(&request)?;
        let wire::DeleteResourceRequest { id, resource: wanted } = request.into_inner();
        self.0.resolve(&namespace, &id).map_err(status)?;
        self.0.remove(&namespace, &id, &resource(wanted)?).await.map_err(status)?;
        Ok(Response::new(()))
    }

    async fn list_resources(
        &self,
        request: Request<wire::ListResourcesRequest>,
    ) -> Answer<wire::ListResourcesResponse> {
        let namespace = namespace(&request)?;
        let held = self.0.resources(&namespace, &request.get_ref().id).await.map_err(status)?;
        let to_resource =
            |hold: crate::records::Hold| wire::Resource { id: hold.id, r#type: hold.kind };
        let resources = held.into_iter().map(to_resource).collect();
        Ok(Response::new(wire::ListResourcesResponse { resources }))
    }
}

fn resource(wire: Option<wire::Resource>) -> Result<Resource, Status> {
    let wire = wire.ok_or_else(required("resource must be set"))?;
    Resource::new(&wire.r#type, &wire.id).map_err(status)
}

fn to_wire(named: Named) -> wire::Lease {
    wire::Lease {
        id: named.id,
        created_at: stamp(named.lease.created),
        labels: to_labels(named.lease.labels),
    }
}
