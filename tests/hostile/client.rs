//! Any method called with any bytes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_grpc::{MAX_MESSAGE, with_namespace};
use berth_stories::Raw;
use bytes::Bytes;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::StdError;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

use crate::{ANSWERED, KUBELETS};

/// Streams that go on once they have begun: what is wrong with the message is told before.
const ENDLESS: [&str; 4] = ["/Subscribe", "/Watch", "/Stream", "/GetContainerEvents"];
/// How long one of these is read.
const READ: Duration = Duration::from_millis(100);

/// How a method answers to a message, in the namespace `hostile`. Ok for a stream that goes on.
pub async fn answer<C: Called>(channel: &C, method: &str, message: Vec<u8>) -> Result<Status> {
    let once = tokio_stream::once(Bytes::from(message));
    called(channel, method, with_namespace(once, &"hostile".parse()?)).await
}

/// The same to an empty message, in no namespace.
pub async fn answer_in_none<C: Called>(channel: &C, method: &str) -> Result<Status> {
    called(channel, method, Request::new(tokio_stream::once(Bytes::new()))).await
}

type Once = tokio_stream::Once<Bytes>;

/// A way to a server: the gateway's socket, or another node's address.
pub trait Called:
    GrpcService<Body, ResponseBody = Self::Answer, Error = Self::Failure> + Clone
{
    type Answer: tonic::codegen::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static;
    type Failure: Into<StdError>;
}

impl<C, A, F> Called for C
where
    C: GrpcService<Body, ResponseBody = A, Error = F> + Clone,
    A: tonic::codegen::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
    F: Into<StdError>,
{
    type Answer = A;
    type Failure = F;
}

async fn called<C: Called>(channel: &C, method: &str, request: Request<Once>) -> Result<Status> {
    let mut client = Grpc::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE);
    client.ready().await.map_err(|error| anyhow::anyhow!(error.into()))?;
    let path = PathAndQuery::try_from(format!("/{method}"))?;
    let begun = Instant::now();
    // All kinds of calls are streams on the wire.
    let call = client.streaming(request, path, Raw);
    let answered = tokio::time::timeout(ANSWERED, call).await;
    let answered = answered.with_context(|| format!("{method} does not answer"))?;
    let ended = match answered {
        Err(status) => status,
        Ok(stream) => {
            let mut stream = stream.into_inner();
            let rest = async {
                while stream.message().await?.is_some() {}
                Ok(())
            };
            let endless = ENDLESS.iter().any(|name| method.ends_with(name));
            match tokio::time::timeout(if endless { READ } else { ANSWERED }, rest).await {
                Ok(Err(status)) => status,
                Ok(Ok(())) => Status::ok(""),
                Err(_) => {
                    ensure!(endless, "{method} begins to answer and does not end");
                    Status::ok("")
                }
            }
        }
    };
    ensure!(begun.elapsed() < ANSWERED, "{method} takes {:?}", begun.elapsed());
    Ok(ended)
}

/// Whether a status says what is wrong, and not that something here is.
pub fn is_proper(status: &Status) -> bool {
    match status.code() {
        Code::Internal | Code::Unknown | Code::DataLoss => false,
        _ => !status.message().contains("panick"),
    }
}

/// The same of what a method says: to kubelets most refusals have no code, as from containerd's CRI, and
/// words alone say what is wrong.
pub fn is_proper_of(method: &str, status: &Status) -> bool {
    let said = status.message();
    match status.code() {
        Code::Unknown if method.starts_with(KUBELETS) => {
            !said.is_empty() && !said.contains("panick")
        }
        _ => is_proper(status),
    }
}
