//! Sending events to whoever started the shim, in order.
//!
//! The queue is bounded and each event is tried a few times: an event may be lost when nobody
//! listens for long. The state that it told of is still here to be asked for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use berth_proto::containerd::types::Envelope;
use berth_ttrpc::{Client, KeyValue};
use prost::Message;
use tokio::sync::mpsc;

use crate::children::{Children, Kills, command};
use crate::events::{Event, envelope};
use crate::{Error, log};

const QUEUE: usize = 2048;
/// With the pauses between them a listener that is restarted has a quarter of a minute.
const TRIES: u32 = 6;
const DEADLINE: Duration = Duration::from_secs(5);
const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";
/// Under this header containerd's ttrpc services look for the namespace.
const NAMESPACE_HEADER: &str = "containerd-namespace-ttrpc";

/// Where events go.
pub(crate) enum Destination {
    /// The socket of an events service.
    Socket(PathBuf),
    /// A program that publishes one event from its standard input.
    Program { program: PathBuf, address: String },
}

/// The sending end of the queue.
pub(crate) struct Publisher {
    namespace: String,
    queue: mpsc::Sender<Envelope>,
    lost: AtomicU64,
}

/// The other end.
pub(crate) struct Queue {
    namespace: String,
    events: mpsc::Receiver<Envelope>,
    destination: Destination,
    client: Option<Client>,
}

/// Makes the queue.
pub(crate) fn queue(namespace: &str, destination: Destination) -> (Publisher, Queue) {
    let (queue, events) = mpsc::channel(QUEUE);
    let namespace = namespace.to_owned();
    let lost = AtomicU64::new(0);
    (
        Publisher { namespace: namespace.clone(), queue, lost },
        Queue { namespace, events, destination, client: None },
    )
}

/// How long after a failed try the next one is made.
const fn pause(attempt: u32) -> Duration {
    Duration::from_millis(250 * attempt as u64 * attempt as u64)
}

impl Publisher {
    /// Queues an event; one that finds the queue full is lost.
    pub(crate) fn publish<E: Event>(&self, event: &E) {
        if self.queue.try_send(envelope(&self.namespace, event)).is_err() {
            let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
            log::warn(format_args!("event {} is lost, {lost} so far: the queue is full", E::TOPIC));
        }
    }
}

impl Queue {
    /// Sends until the publisher is gone and the queue is empty.
    pub(crate) async fn run(mut self, children: &Children) {
        while let Some(event) = self.events.recv().await {
            let topic = event.topic.clone();
            if let Err(error) = self.send(event, children).await {
                log::warn(format_args!("event {topic} is lost after {TRIES} tries: {error}"));
            }
        }
    }

    async fn send(&mut self, event: Envelope, children: &Children) -> Result<(), Error> {
        let request = ForwardRequest { envelope: Some(event) };
        let mut attempt = 1;
        loop {
            let error = match self.try_send(&request, children).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.client = None;
            if attempt == TRIES {
                return Err(error);
            }
            // The listener restarts: each try waits a little longer for it.
            tokio::time::sleep(pause(attempt)).await;
            attempt += 1;
        }
    }

    async fn try_send(
        &mut self,
        request: &ForwardRequest,
        children: &Children,
    ) -> Result<(), Error> {
        match &self.destination {
            Destination::Socket(path) => {
                let client = match self.client.take().filter(|client| !client.is_closed()) {
                    Some(client) => client,
                    None => self.connect(path).await?,
                };
                client.call::<()>(SERVICE, "Forward", request, DEADLINE).await?;
                self.client = Some(client);
                Ok(())
            }
            Destination::Program { program, address } => {
                let Some(envelope) = &request.envelope else { return Ok(()) };
                let event = envelope.event.as_ref().map(Message::encode_to_vec).unwrap_or_default();
                let mut publish = command(&program.to_string_lossy());
                publish.args(["--address", address, "publish", "--topic", &envelope.topic]);
                publish.args(["--namespace", &self.namespace]);
                let output = children.output(publish, &event, DEADLINE, Kills::Alone).await?;
                if output.status != 0 {
                    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                    return Err(Error::Runtime { what: "publish event", message });
                }
                Ok(())
            }
        }
    }

    async fn connect(&self, path: &std::path::Path) -> Result<Client, Error> {
        let client = Client::connect(path, DEADLINE).await?;
        let header = KeyValue { key: NAMESPACE_HEADER.into(), value: self.namespace.clone() };
        Ok(client.with_metadata(vec![header]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_a_quarter_of_a_minute_to_come_back() {
        let patience: Duration = (1..TRIES).map(pause).sum();
        assert!((13..16).contains(&patience.as_secs()), "{patience:?}");
    }
}
