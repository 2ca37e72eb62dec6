//! One call on its way to a service and back.

use std::sync::Arc;

use berth_grpc::deadline;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::Error;
use crate::body::{Call, Inbound, Outbound, Relay};
use crate::route::Lane;
use crate::upstream::Upstream;

/// Passes a call on and returns its response, of which the body is still to come.
///
/// # Errors
/// Whatever kept the service from answering; nothing was sent to the caller then.
pub async fn relay(
    upstream: &Arc<Upstream>,
    lane: Lane,
    request: Request<Incoming>,
) -> Result<Response<Inbound>, Error> {
    let until = deadline::of(request.headers())?;
    let path = request.uri().path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let call = Call { service: upstream.name(), path };
    let (over, ended) = oneshot::channel();
    let request = addressed(request.map(|body| Outbound::Relayed(body, ended)), call.path.clone());
    let sent = upstream.send(lane, request, until);
    let answered = match until {
        None => sent.await,
        Some(at) => match timeout_at(at, sent).await {
            Ok(answered) => answered,
            Err(_) => Err(Error::Late { method: call.path.to_string() }),
        },
    };
    let response = answered?;
    Ok(response.map(|body| Inbound::Relayed(Relay::new(body, call, until, Some(over)))))
}

/// Clients on a unix socket name all kinds of hosts; the services see one.
pub fn addressed<B>(mut request: Request<B>, path: PathAndQuery) -> Request<B> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static("localhost"));
    parts.path_and_query = Some(path);
    // Cannot fail: all three parts are there.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}
