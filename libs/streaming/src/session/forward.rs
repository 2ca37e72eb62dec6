//! Forwarded connections: each to the one who carries it, its failure to its error stream.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::pairs::{Added, Pair, Pairs, port_of};
use crate::channel::{Forwarded, Input, Output};
use crate::spdy::{Headers, Opened};
use crate::{Limits, Sessions};

/// How long connections may take to end after their client is gone.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Whether a stream is one of a forwarded connection.
pub(crate) fn is_port_stream(headers: &Headers) -> bool {
    port_of(headers).is_some()
}

/// What all connections of a client share.
pub(crate) struct Carrier<S: Sessions> {
    sessions: Arc<S>,
    what: Arc<S::What>,
    pod: String,
}

impl<S: Sessions> Carrier<S> {
    pub(crate) fn new(sessions: Arc<S>, what: S::What, pod: String) -> Self {
        Self { sessions, what: Arc::new(what), pod }
    }

    /// Carries one connection. A failure goes to the error stream, and gives the data stream up.
    async fn carry(&self, port: u16, data: (Input, Output), error: Output) {
        let (input, output) = data;
        let handle = output.handle();
        let stream = Forwarded::new(input, output);
        let carried = self.sessions.port_forward(self.what.clone(), port, stream).await;
        if let Err(why) = carried {
            let text = format!("error forwarding port {port} to pod {}, uid : {why}", self.pod);
            tell(error, &text).await;
            handle.reset();
        }
    }
}

async fn tell(mut error: Output, text: &str) {
    if let Err(failure) = error.write_all(text.as_bytes()).await {
        tracing::debug!(%failure, text, "the client is gone and is not told");
    }
}

/// Carries what a client opens, stream by stream, until it goes.
pub(crate) async fn forward_pairs<S: Sessions>(
    carrier: Carrier<S>,
    mut opened: mpsc::Receiver<Opened>,
    limits: &Limits,
) {
    // Streams that were reset are no longer counted as open, but their halves and what they carried
    // may be here for a while: these have a bound of their own.
    let most = limits.streams / 2;
    let mut pairs = Pairs::new(most, limits.creation);
    let mut carried = FuturesUnordered::new();
    loop {
        let deadline = pairs.next_deadline();
        let expiry = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            new = opened.recv() => match new.map(|new| pairs.add(new)) {
                None => break,
                Some(Added::Half) => {}
                Some(Added::Refused(output)) => output.handle().reset(),
                Some(Added::Twice(text, output)) => tell(output, &text).await,
                Some(Added::Pair(pair)) if carried.len() >= most => {
                    pair.data.1.handle().reset();
                    tell(pair.error, "too many connections are open").await;
                }
                Some(Added::Pair(pair)) => {
                    let Pair { request, port, stream, data, error } = *pair;
                    tracing::debug!(request, port, stream, "a connection is forwarded");
                    carried.push(carrier.carry(port, data, error));
                }
            },
            () = expiry => for (request, error) in pairs.expired() {
                if let Some(error) = error {
                    tell(error, &format!("request {request}: timed out waiting for streams")).await;
                }
            },
            Some(()) = carried.next() => {}
        }
    }
    drop(pairs);
    let ends = async { while carried.next().await.is_some() {} };
    if tokio::time::timeout(AFTERMATH, ends).await.is_err() {
        tracing::info!("connections of a client that is gone are cut off");
    }
}

/// Carries the connections of a WebSocket of channels: one per port that was asked for, from the start.
pub(crate) async fn forward_channels<S: Sessions>(
    carrier: Carrier<S>,
    ports: Vec<(u16, (Input, Output), Output)>,
) {
    let mut carried = FuturesUnordered::new();
    for (port, mut data, mut error) in ports {
        let carrier = &carrier;
        carried.push(async move {
            // Each channel says first which port it is for.
            let name = port.to_le_bytes();
            let said = futures::future::try_join(data.1.write_all(&name), error.write_all(&name));
            if said.await.is_ok() {
                carrier.carry(port, data, error).await;
            }
        });
    }
    while carried.next().await.is_some() {}
}
