//! One call, from its request to the head of its answer.

use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use tokio::time::timeout_at;
use tonic::Status;

use super::Peer;
use super::answer::Answer;
use super::call::Call;
use super::outgoing::Outgoing;
use crate::{deadline, traces};

/// Sends a request and waits for the head of its answer.
pub(super) async fn exchange(
    peer: &Arc<Peer>,
    mut request: Request<Outgoing>,
) -> Result<Response<Answer>, Status> {
    let deadline = deadline::of(request.headers()).map_err(crate::status)?;
    traces::inject(request.headers_mut());
    let method = address(request.uri_mut());
    let call = Call::new(peer.clone(), method, deadline);
    let sent = call.send(request);
    let answered = match deadline {
        None => sent.await,
        Some(at) => timeout_at(at, sent).await.unwrap_or_else(|_| Err(call.late())),
    };
    match answered {
        Ok((response, held)) => Ok(response.map(|body| Answer::new(body, call, held))),
        Err(error) => Err(error.into_status()),
    }
}

/// Names one host, whatever the caller called it: clients on a unix socket name all kinds of them,
/// and nobody resolves it. Returns the path.
fn address(uri: &mut Uri) -> PathAndQuery {
    let path = uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static("localhost"));
    parts.path_and_query = Some(path.clone());
    // Cannot fail: all three parts are there.
    *uri = Uri::from_parts(parts).unwrap_or_default();
    path
}
