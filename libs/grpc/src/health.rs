//! grpc.health.v1.Health of one process, on its own socket: it serves while it can do its work.
//!
//! What `/readyz` tells in words is here for who speaks gRPC. It knows the empty name alone, which is the
//! process; the gateway knows those of all services of the node.

use std::time::Duration;

use berth_lifecycle::hindrances;
use futures::stream::{BoxStream, StreamExt, unfold};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// How often a watcher looks.
const PERIOD: Duration = Duration::from_secs(1);

/// The service, to be added to the routes of a process that ends when `stop` is cancelled.
#[must_use]
pub fn health(stop: CancellationToken) -> HealthServer<Health> {
    HealthServer::new(Health(stop))
}

/// Whether this process can do its work.
#[derive(Debug)]
pub struct Health(CancellationToken);

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        match look(&name, &self.0).await {
            ServingStatus::ServiceUnknown => Err(Status::not_found(format!(
                "service {name:?}: not found: this socket knows the process's health alone, by the empty name; ask the gateway"
            ))),
            status => Ok(Response::new(answer(status))),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let (stop, tick) = (self.0.clone(), tokio::time::interval(PERIOD));
        let changes = unfold((None, tick), move |(mut told, mut tick)| {
            let (name, stop) = (name.clone(), stop.clone());
            async move {
                loop {
                    stop.run_until_cancelled(tick.tick()).await?;
                    let found = look(&name, &stop).await;
                    if told.replace(found) != Some(found) {
                        return Some((Ok(answer(found)), (told, tick)));
                    }
                }
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}

async fn look(name: &str, stop: &CancellationToken) -> ServingStatus {
    if !name.is_empty() {
        return ServingStatus::ServiceUnknown;
    }
    match !stop.is_cancelled() && hindrances().await.is_empty() {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
