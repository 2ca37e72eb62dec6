//! grpc.health.v1.Health: a gRPC service is healthy when the process that serves it accepts calls.

use std::time::Duration;

use berth_lifecycle::Tasks;
use berth_proto::grpc::health::v1::health_check_response::ServingStatus;
use berth_proto::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse, health_server,
};
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::route;
use crate::upstreams::{Upstream, Upstreams};

/// A process that accepts no connection within this time is not serving.
const DEADLINE: Duration = Duration::from_millis(200);
/// How often a watcher looks.
const PERIOD: Duration = Duration::from_secs(1);

/// The health of the node (empty name), of a process (`berth-bundle`), or of a gRPC service.
pub struct Health {
    upstreams: Upstreams,
    tasks: Tasks,
}

impl Health {
    /// Looks at `upstreams` when asked.
    #[must_use]
    pub fn new(upstreams: Upstreams, tasks: Tasks) -> Self {
        Self { upstreams, tasks }
    }

    /// The processes that a name depends on; `None` if nobody knows the name. The node does not depend on what
    /// it can be without.
    fn needed(&self, name: &str) -> Option<Vec<Upstream>> {
        if name.is_empty() {
            return Some(self.upstreams.all().cloned().collect());
        }
        if let Some(upstream) = self.upstreams.there().find(|upstream| upstream.name() == name) {
            return Some(vec![upstream.clone()]);
        }
        match route::owner(name)? {
            Some(service) => Some(vec![self.upstreams.of(service).ok()?.clone()]),
            None => Some(Vec::new()),
        }
    }
}

async fn look(needed: &[Upstream]) -> ServingStatus {
    for upstream in needed {
        if !upstream.calls().is_there(DEADLINE).await {
            return ServingStatus::NotServing;
        }
    }
    ServingStatus::Serving
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        let needed = self
            .needed(&name)
            .ok_or_else(|| Status::not_found(format!("service {name:?}: not found")))?;
        Ok(Response::new(answer(look(&needed).await)))
    }

    /// Every name that [`Self::check`] takes.
    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let processes = self.upstreams.there().map(Upstream::name);
        let names = [""].into_iter().chain(processes).chain(route::services());
        let looked = names.filter_map(|name| Some((name.to_owned(), self.needed(name)?)));
        let looked = looked.map(async |(name, needed)| (name, answer(look(&needed).await)));
        let statuses = join_all(looked).await.into_iter().collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let needed = self.needed(&request.into_inner().service);
        let (sender, receiver) = mpsc::channel(1);
        self.tasks.spawn("health-watch", watch(needed, sender, self.tasks.token()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Sends the status, and again whenever it has changed, until nobody listens.
async fn watch(
    needed: Option<Vec<Upstream>>,
    sender: mpsc::Sender<Result<HealthCheckResponse, Status>>,
    ending: tokio_util::sync::CancellationToken,
) {
    let mut told = None;
    let mut tick = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            () = sender.closed() => return,
            _ = tick.tick() => {}
        }
        let found = match &needed {
            Some(needed) => look(needed).await,
            None => ServingStatus::ServiceUnknown,
        };
        if told.replace(found) != Some(found) && sender.send(Ok(answer(found))).await.is_err() {
            return;
        }
    }
}
