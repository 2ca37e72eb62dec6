//! The connection to a shim, which speaks ttrpc or gRPC. What goes wrong is told in the same words
//! either way.

use std::time::Duration;

use berth_grpc::{Channel, Settings, told, with_namespace};
use berth_ids::Namespace;
use berth_ttrpc::{Client, Error, KeyValue};
use prost::Message;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use crate::error;
use crate::shims::Bootstrap;

/// Under this header containerd's ttrpc services look for the namespace.
const NAMESPACE_HEADER: &str = "containerd-namespace-ttrpc";

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) enum Transport {
    /// What most shims speak.
    Ttrpc(Client),
    /// Since version 3 of the task service.
    Grpc(Channel, Namespace),
}

impl Transport {
    /// Connects, which takes no longer than `within`. Every call says its namespace.
    pub(super) async fn connect(
        bootstrap: &Bootstrap,
        ns: &Namespace,
        within: Duration,
    ) -> error::Result<Self> {
        let path = bootstrap.socket();
        if bootstrap.is_grpc() {
            // One that is stuck may go on, and one that is gone is for our caller to see.
            let (wait, silence, greeted) = (Duration::ZERO, Duration::MAX, false);
            let settings = Settings { wait, silence, greeted, ..Settings::of(path) };
            let channel = Channel::new(path, settings);
            let connected = channel.connect(Duration::ZERO).await;
            let failed = |source| of_shim(Error::Connect { path: path.to_owned(), source });
            connected.map_err(failed)?;
            return Ok(Self::Grpc(channel, ns.clone()));
        }
        let header = KeyValue { key: NAMESPACE_HEADER.into(), value: ns.to_string() };
        let client = Client::connect(path, within).await.map_err(of_shim)?;
        Ok(Self::Ttrpc(client.with_metadata(vec![header])))
    }

    /// Calls `service/method` and waits for the answer at most for `deadline`. `more` are headers, of
    /// which a shim over gRPC is not told: there the channel has those of traces.
    pub(super) async fn call<M: Message + Default + 'static>(
        &self,
        service: &str,
        method: &str,
        request: impl Message + 'static,
        deadline: Duration,
        more: Vec<KeyValue>,
    ) -> error::Result<M> {
        let answered = match self {
            Self::Ttrpc(client) => {
                let traced = (!more.is_empty()).then(|| client.with_more_metadata(more));
                let client = traced.as_ref().unwrap_or(client);
                client.call(service, method, &request, deadline).await
            }
            Self::Grpc(channel, ns) => {
                let call = format!("{service}/{method}");
                let request = with_namespace(request, ns);
                // The deadline is kept here alone: who is told of it may answer that it has passed,
                // in words of its own, before this side sees it. A call that is dropped is reset.
                let answered = tokio::time::timeout(deadline, unary(channel, &call, request)).await;
                match answered {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(status)) => Err(failure(call, &status)),
                    Err(_) => Err(Error::Deadline { call, after: deadline }),
                }
            }
        };
        answered.map_err(|error| of_shim(worded(error)))
    }

    /// Returns when the connection has ended.
    pub(super) async fn closed(&self) {
        match self {
            Self::Ttrpc(client) => client.closed().await,
            Self::Grpc(channel, _) => channel.ended().await,
        }
    }
}

fn of_shim(source: Error) -> error::Error {
    error::Error::Shim { step: "", source }
}

/// As containerd 2 hands on what a shim says: as it is, or in the words of its code if it says nothing.
/// Clients before it add those words themselves.
fn worded(error: Error) -> Error {
    match error {
        Error::Remote { code, message } if message.is_empty() => {
            Error::Remote { code, message: code.words().to_owned() }
        }
        other => other,
    }
}

async fn unary<Q: Message + 'static, A: Message + Default + 'static>(
    channel: &Channel,
    call: &str,
    request: tonic::Request<Q>,
) -> Result<A, Status> {
    let path = PathAndQuery::try_from(format!("/{call}"));
    let path = path.map_err(|error| Status::internal(error.to_string()))?;
    let mut client = Grpc::new(channel.clone());
    // It is ready at once.
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let answer = client.unary(request, path, ProstCodec::<Q, A>::default()).await?;
    Ok(answer.into_inner())
}

/// A status of the shim's has no source; one that has was made here, of a broken connection.
fn failure(call: String, status: &Status) -> Error {
    if std::error::Error::source(status).is_some() {
        return Error::Closed { call };
    }
    let (code, message) = told(status, &format!("shim, asked for {call},"));
    Error::Remote { code, message }
}
