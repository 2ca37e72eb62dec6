//! `containerd.services.sandbox.v1.Store`.

use std::time::SystemTime;

use berth_grpc::{lease, namespace, status};
use berth_proto::containerd::services::sandbox::v1 as wire;
use berth_proto::containerd::types;
use tonic::{Request, Response, Status};

use super::wire::{any, anys, runtime, time, wire_any, wire_anys};
use crate::error::Error;
use crate::records::Sandbox;
use crate::sandboxes::Sandboxes;

/// Serves sandboxes.
pub(super) struct Service(pub(super) Sandboxes);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl wire::store_server::Store for Service {
    async fn create(
        &self,
        request: Request<wire::StoreCreateRequest>,
    ) -> Answer<wire::StoreCreateResponse> {
        let ns = namespace(&request)?;
        self.0.under(&ns, lease(&request).as_deref()).await.map_err(status)?;
        let sandbox = from_wire(request.into_inner().sandbox)?;
        let made = self.0.create(&ns, sandbox).await.map_err(status)?;
        Ok(Response::new(wire::StoreCreateResponse { sandbox: Some(to_wire(&made)) }))
    }

    async fn update(
        &self,
        request: Request<wire::StoreUpdateRequest>,
    ) -> Answer<wire::StoreUpdateResponse> {
        let ns = namespace(&request)?;
        self.0.under(&ns, lease(&request).as_deref()).await.map_err(status)?;
        let wire::StoreUpdateRequest { sandbox, fields } = request.into_inner();
        let updated = self.0.update(&ns, from_wire(sandbox)?, fields).await.map_err(status)?;
        Ok(Response::new(wire::StoreUpdateResponse { sandbox: Some(to_wire(&updated)) }))
    }

    async fn delete(
        &self,
        request: Request<wire::StoreDeleteRequest>,
    ) -> Answer<wire::StoreDeleteResponse> {
        let ns = namespace(&request)?;
        self.0.delete(&ns, &request.into_inner().sandbox_id).await.map_err(status)?;
        Ok(Response::new(wire::StoreDeleteResponse {}))
    }

    async fn list(
        &self,
        request: Request<wire::StoreListRequest>,
    ) -> Answer<wire::StoreListResponse> {
        let ns = namespace(&request)?;
        let found = self.0.list(&ns, &request.into_inner().filters).map_err(status)?;
        let list = found.iter().map(to_wire).collect();
        Ok(Response::new(wire::StoreListResponse { list }))
    }

    async fn get(&self, request: Request<wire::StoreGetRequest>) -> Answer<wire::StoreGetResponse> {
        let ns = namespace(&request)?;
        let found = self.0.get(&ns, &request.into_inner().sandbox_id).map_err(status)?;
        Ok(Response::new(wire::StoreGetResponse { sandbox: Some(to_wire(&found)) }))
    }
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
pub(super) fn from_wire(sandbox: Option<types::Sandbox>) -> Result<Sandbox, Status> {
    let missing = || status(Error::Invalid("sandbox must be set".into()));
    let sandbox = sandbox.ok_or_else(missing)?;
    let given = sandbox.runtime.unwrap_or_default();
    Ok(Sandbox {
        id: sandbox.sandbox_id,
        runtime: runtime(given.name, given.options),
        spec: sandbox.spec.map(any),
        labels: sandbox.labels.into_iter().collect(),
        extensions: anys(sandbox.extensions),
        sandboxer: sandbox.sandboxer,
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    })
}

fn to_wire(sandbox: &Sandbox) -> types::Sandbox {
    let options = sandbox.runtime.options.as_ref().map(wire_any);
    let name = sandbox.runtime.name.clone();
    types::Sandbox {
        sandbox_id: sandbox.id.clone(),
        runtime: Some(types::sandbox::Runtime { name, options }),
        spec: sandbox.spec.as_ref().map(wire_any),
        labels: sandbox.labels.clone().into_iter().collect(),
        created_at: time(sandbox.created),
        updated_at: time(sandbox.updated),
        extensions: wire_anys(&sandbox.extensions),
        sandboxer: sandbox.sandboxer.clone(),
    }
}
