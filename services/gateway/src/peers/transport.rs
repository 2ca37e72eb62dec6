//! Lets tonic's clients use an [`Upstream`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;

use crate::Error;
use crate::body::Outbound;
use crate::relay::addressed;
use crate::route::Lane;
use crate::upstream::Upstream;

/// A way to a service. Its waits are the upstream's; deadlines are the caller's.
#[derive(Clone, Debug)]
pub struct Transport(pub Arc<Upstream>);

impl tower::Service<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let upstream = self.0.clone();
        Box::pin(async move {
            let path = request.uri().path_and_query().cloned();
            let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
            let request = addressed(request.map(Outbound::Own), path);
            upstream.send(Lane::Calls, request, None).await
        })
    }
}
