//! Lets tonic's clients use an [`Upstream`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use berth_grpc::status;
use http::uri::PathAndQuery;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;

use crate::body::{Call, Outbound, Relay};
use crate::relay::addressed;
use crate::route::Lane;
use crate::upstream::Upstream;

/// A way to a service. Its waits are the upstream's; deadlines are the caller's.
#[derive(Clone, Debug)]
pub struct Transport(pub Arc<Upstream>);

impl tower::Service<Request<Body>> for Transport {
    type Response = Response<Relay>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Relay>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let upstream = self.0.clone();
        Box::pin(async move {
            let path = request.uri().path_and_query().cloned();
            let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
            let call = Call { service: upstream.name(), path: path.clone() };
            let request = addressed(request.map(Outbound::Own), path);
            let response = upstream.send(Lane::Calls, request, None).await.map_err(status)?;
            Ok(response.map(|body| Relay::new(body, call, None, None)))
        })
    }
}
