//! The task and the sandbox service over gRPC. Messages pass as they are.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use berth_stories::Raw;
use berth_ttrpc::{Client, Error, KeyValue};
use bytes::Bytes;
use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// Waiting for the end of a process takes as long as that runs.
const LONG: Duration = Duration::from_secs(86_400);

/// What is to be served for the shim behind a connection.
pub fn routes(shim: &Client) -> Routes {
    Routes::new(Face::<false>(shim.clone())).add_service(Face::<true>(shim.clone()))
}

/// The service for sandboxes, or that for tasks.
#[derive(Clone)]
struct Face<const SANDBOX: bool>(Client);

impl<const SANDBOX: bool> NamedService for Face<SANDBOX> {
    const NAME: &'static str = match SANDBOX {
        true => "containerd.runtime.sandbox.v1.Sandbox",
        false => "containerd.task.v3.Task",
    };
}

impl<const SANDBOX: bool> Service<http::Request<Body>> for Face<SANDBOX> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let call = Forward { shim: self.0.clone(), service: Self::NAME, method };
        Box::pin(async move { Ok(Grpc::new(Raw).unary(call, request).await) })
    }
}

struct Forward {
    shim: Client,
    service: &'static str,
    method: String,
}

impl UnaryService<Bytes> for Forward {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let Forward { shim, service, method } = self;
        let (shim, service, method) = (shim.clone(), *service, method.clone());
        Box::pin(async move {
            let namespace = berth_grpc::namespace(&request)?.to_string();
            let header = KeyValue { key: "containerd-namespace-ttrpc".into(), value: namespace };
            let shim = shim.with_metadata(vec![header]);
            let answer = shim.call_raw(service, &method, request.into_inner(), LONG).await;
            match answer {
                Ok(answer) => Ok(Response::new(answer)),
                Err(Error::Remote { code, message }) => {
                    Err(Status::new(berth_grpc::wire_code(code), message))
                }
                // The shim is gone, and this process ends with it: nobody is to be answered.
                Err(Error::Closed { .. }) => std::future::pending().await,
                Err(other) => Err(Status::unavailable(other.to_string())),
            }
        })
    }
}
