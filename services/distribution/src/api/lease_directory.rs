//! The node's LeaseDirectory service.

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response};

use super::namespaces::name;
use super::wire::Answer;
use crate::error::Error;
use crate::leases::Leases;

pub struct Service(pub Leases);

#[tonic::async_trait]
impl wire::lease_directory_server::LeaseDirectory for Service {
    async fn resolve(
        &self,
        request: Request<wire::ResolveLeaseRequest>,
    ) -> Answer<wire::ResolveLeaseResponse> {
        let wanted = request.into_inner();
        let found = self.0.resolve(&name(&wanted.namespace)?, &wanted.lease);
        // Asked on behalf of a call that is made under it: that is what its client is told.
        let missing = |error| match error {
            Error::LeaseNotFound(lease) => Error::LeaseMissing(lease),
            other => other,
        };
        let lease = found.map_err(missing).map_err(status)?;
        Ok(Response::new(wire::ResolveLeaseResponse { incarnation: lease.incarnation }))
    }
}
