//! `berth.node.v1.NamespaceMember`: fences, and what a namespace has here.

use std::collections::HashMap;
use std::sync::Arc;

use berth_grpc::status;
use berth_ids::Namespace;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response, Status};

use crate::containers::Containers;
use crate::error::Error;
use crate::gate::Gate;
use crate::networks::Networks;
use crate::sandboxes::{Sandboxers, Sandboxes};
use crate::tasks::Tasks;

/// Serves fences and counts.
pub(super) struct Service {
    pub(super) gate: Arc<Gate>,
    pub(super) containers: Containers,
    pub(super) sandboxes: Sandboxes,
    pub(super) sandboxers: Sandboxers,
    pub(super) tasks: Tasks,
    pub(super) networks: Networks,
}

#[tonic::async_trait]
impl wire::namespace_member_server::NamespaceMember for Service {
    async fn fence(
        &self,
        request: Request<wire::FenceRequest>,
    ) -> Result<Response<wire::FenceResponse>, Status> {
        let wire::FenceRequest { namespace, up } = request.into_inner();
        self.gate.fence(&parse(&namespace)?, up).await;
        Ok(Response::new(wire::FenceResponse {}))
    }

    async fn usage(
        &self,
        request: Request<wire::NamespaceUsageRequest>,
    ) -> Result<Response<wire::NamespaceUsageResponse>, Status> {
        let ns = parse(&request.into_inner().namespace)?;
        let mut containers = 0u64;
        let count = |_| {
            containers += 1;
            true
        };
        self.containers.list(&ns, &[], count).map_err(status)?;
        // Those that run need not have a record.
        let mut sandboxes = self.sandboxers.names(&ns);
        let records = self.sandboxes.list(&ns, &[]).map_err(status)?;
        sandboxes.extend(records.into_iter().map(|record| record.id));
        let sandboxes = sandboxes.len() as u64;
        let tasks = self.tasks.count(&ns) as u64;
        let attachments = self.networks.count(&ns).map_err(status)?;
        let counts = [
            ("containers", containers),
            ("network attachments", attachments),
            ("sandboxes", sandboxes),
            ("tasks", tasks),
        ];
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        let counts: HashMap<_, _> = counts.map(|(kind, n)| (kind.to_owned(), n)).collect();
        Ok(Response::new(wire::NamespaceUsageResponse { counts }))
    }
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
pub(super) fn parse(name: &str) -> Result<Namespace, Status> {
    name.parse().map_err(|source| status(Error::Name { what: "namespace", source }))
}
