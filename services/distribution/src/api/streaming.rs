//! containerd's Streaming service: named streams that other calls refer to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_ids::Namespace;
use berth_lifecycle::Tasks;
use berth_proto::containerd::services::streaming::v1 as wire;
use futures::StreamExt;
use prost_types::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::wire::{Answers, message, scope};
use crate::streams;

/// Messages that wait in each direction. What is in them is bounded by the messages' size.
const QUEUE: usize = 16;
/// How long a client may take to name its stream.
const FIRST: Duration = Duration::from_secs(10);
/// Streams of one namespace that nobody has taken yet.
const MAX_WAITING: usize = 1024;
/// Streams of all namespaces that nobody has taken yet.
const MAX_IN_ALL: usize = 4096;
/// The longest name of a stream.
const MAX_NAME: usize = 1024;

type Key = (Namespace, String);

/// Streams that are open and not yet taken by the call that they are for.
#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<HashMap<Key, Waiting>>>);

/// A stream that no call has taken yet.
struct Waiting {
    stream: Stream,
    /// Nothing keeps it any more.
    over: CancellationToken,
}

/// One stream, as the call has it that it is for. Dropping it ends the client's call.
pub struct Stream {
    /// From the client; `None` after its end.
    pub from: mpsc::Receiver<Result<Any, Status>>,
    /// To the client.
    pub to: mpsc::Sender<Result<Any, Status>>,
}

impl Streams {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a stream; nobody else gets it any more.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub fn take(&self, namespace: &Namespace, id: &str) -> Result<Stream, Status> {
        let taken = self.all().remove(&(namespace.clone(), id.to_owned()));
        let taken = taken.filter(|waiting| !waiting.over.is_cancelled());
        let taken = taken.map(|waiting| waiting.stream);
        taken.ok_or_else(|| Status::not_found(format!("stream {id:?}: not found")))
    }

    /// Lets go of those that nothing keeps any more.
    fn forget_over(&self) {
        self.all().retain(|_, waiting| !waiting.over.is_cancelled());
    }

    fn register(&self, key: Key, waiting: Waiting) -> Result<(), Status> {
        let mut all = self.all();
        // The clients of these have gone away without a call taking them.
        all.retain(|_, waiting| !waiting.stream.to.is_closed());
        let own = all.keys().filter(|(namespace, _)| *namespace == key.0).count();
        if own >= MAX_WAITING || all.len() >= MAX_IN_ALL {
            return Err(Status::resource_exhausted(format!(
                "{own} streams wait in namespace {:?}, {} in all: resource exhausted",
                key.0.as_str(),
                all.len()
            )));
        }
        match all.entry(key) {
            Entry::Occupied(taken) => {
                let id = &taken.key().1;
                Err(Status::already_exists(format!("stream {id:?}: already exists")))
            }
            Entry::Vacant(free) => {
                free.insert(waiting);
                Ok(())
            }
        }
    }
}

/// The service.
pub struct Service {
    /// What it registers streams with.
    pub streams: Streams,
    /// What tells those that leases keep that they are over.
    pub leased: streams::Streams,
    /// The process's tasks.
    pub tasks: Tasks,
}

#[tonic::async_trait]
impl wire::streaming_server::Streaming for Service {
    type StreamStream = Answers<Any>;

    async fn stream(
        &self,
        request: Request<Streaming<Any>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let scope = scope(&request)?;
        let mut inbound = request.into_inner();
        let first = tokio::time::timeout(FIRST, inbound.message()).await;
        let first = first
            .map_err(|_| Status::deadline_exceeded("stream: its first message did not come"))??
            .ok_or_else(|| Status::invalid_argument("stream: it ended before it was named"))?;
        let wire::StreamInit { id } = message(&first)?;
        if id.len() > MAX_NAME {
            let words = format!("stream: its name has {} bytes, more than {MAX_NAME}", id.len());
            return Err(Status::invalid_argument(format!("{words}: invalid argument")));
        }
        let (to, outbound) = mpsc::channel(QUEUE);
        let (forward, from) = mpsc::channel(QUEUE);
        // The client waits for this before it lets other calls refer to the stream.
        let greeting = Any { type_url: "google.protobuf.Empty".to_owned(), value: Vec::new() };
        let _ = to.send(Ok(greeting)).await;
        let leased = self.leased.lease(&scope, &id);
        let over = leased.as_ref().map(|leased| leased.over.clone()).unwrap_or_default();
        let waiting = Waiting { stream: Stream { from, to }, over: over.clone() };
        self.streams.register((scope.namespace, id), waiting)?;
        let (stop, ended) = (self.tasks.token(), over.clone());
        let streams = self.streams.clone();
        self.tasks.spawn("stream-inbound", async move {
            let forwarding = pass_on(&mut inbound, &forward);
            // Whoever took the stream may be done with it before the client is.
            tokio::select! {
                () = forwarding => {}
                () = forward.closed() => {}
                () = ended.cancelled() => {
                    // One that nobody has taken: nobody reads what waits in it.
                    streams.forget_over();
                    let words = "stream: nothing keeps it any more, its lease is gone";
                    // Whoever has taken it may have let go of it already, or may be slow.
                    let told = forward.send(Err(Status::cancelled(words)));
                    let _ = stop.run_until_cancelled(told).await;
                }
                () = stop.cancelled() => {}
            }
        });
        let outbound = ReceiverStream::new(outbound);
        // It is its lease's for as long as the client's call.
        let over = async move {
            let _leased = leased;
            over.cancelled().await;
        };
        Ok(Response::new(Box::pin(outbound.take_until(over))))
    }
}

async fn pass_on(inbound: &mut Streaming<Any>, forward: &mpsc::Sender<Result<Any, Status>>) {
    loop {
        let message = match inbound.message().await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => return,
            Err(status) => Err(status),
        };
        let ended = message.is_err();
        if forward.send(message).await.is_err() || ended {
            return;
        }
    }
}
