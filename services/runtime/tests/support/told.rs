//! What a service has told so far: all that it told before an event which is published to it now.

use std::sync::atomic::{AtomicU64, Ordering};

use berth_proto::berth::node::v1 as node;
use berth_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use berth_proto::containerd::services::events::v1 as api;
use berth_proto::containerd::types::Envelope;
use prost_types::Any;

use super::{Node, SOON, ns, until};

/// The type of the events that end what was told so far.
const SO_FAR: &str = "test.SoFar";

/// All that a service tells, from the start of its run.
struct Reader(tonic::Streaming<node::NodeEvent>);

impl Reader {
    async fn of(node: &Node) -> Self {
        let mut client = node::node_events_client::NodeEventsClient::new(node.channel.clone());
        let request = node::NodeSubscribeRequest { from_start: true, ..Default::default() };
        Self(client.subscribe(request).await.unwrap().into_inner())
    }

    /// The next event; nothing if none comes.
    async fn next(&mut self) -> Option<Any> {
        loop {
            let message = tokio::time::timeout(SOON, self.0.message()).await.ok()?;
            if let Some(event) = message.unwrap().expect("the stream ended").event {
                return Some(event);
            }
        }
    }

    /// What comes before an event that is published now.
    async fn so_far(&mut self, node: &Node) -> Vec<Any> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes().to_vec();
        let last = Any { type_url: SO_FAR.into(), value: number };
        let (topic, event) = ("/test/so-far".to_owned(), Some(last.clone()));
        let mut client = api::events_client::EventsClient::new(node.channel.clone());
        client.publish(ns(api::PublishRequest { topic, event })).await.unwrap();
        let mut told = Vec::new();
        loop {
            match self.next().await.expect("what was published does not arrive") {
                event if event == last => return told,
                event if event.type_url == SO_FAR => {}
                event => told.push(event),
            }
        }
    }
}

impl Node {
    /// Brings news as shims do.
    pub async fn forward(&self, envelope: Envelope) -> Result<(), berth_ttrpc::Error> {
        let socket = self.folder.path().join("run/berth.sock.ttrpc");
        until("the service listens to shims", || socket.exists()).await;
        let client = berth_ttrpc::Client::connect(&socket, SOON).await.unwrap();
        let service = "containerd.services.events.ttrpc.v1.Events";
        let request = ForwardRequest { envelope: Some(envelope) };
        client.call::<()>(service, "Forward", &request, SOON).await
    }

    /// The events so far.
    pub async fn told(&self) -> Vec<Any> {
        Reader::of(self).await.so_far(self).await
    }

    /// The topics of the events so far, with what tells them apart, of one container or sandbox.
    pub async fn events(&self, id: &str) -> Vec<String> {
        self.told().await.iter().filter_map(|any| describe(any, id)).collect()
    }

    /// Waits until the events of a container or a sandbox end with `last`.
    pub async fn events_until(&self, id: &str, last: &str) -> Vec<String> {
        let (mut reader, mut told) = (Reader::of(self).await, Vec::new());
        loop {
            told.extend(reader.so_far(self).await.iter().filter_map(|any| describe(any, id)));
            if told.last().is_some_and(|event| event == last) {
                return told;
            }
            let before = told.len();
            while told[before..].last().is_none_or(|event| event != last) {
                let next = reader.next().await;
                let next = next.unwrap_or_else(|| panic!("no {last} in {told:?}"));
                told.extend(describe(&next, id));
            }
        }
    }
}

/// An event of the tests' namespace that happens now.
pub fn envelope<M: prost::Message + prost::Name>(topic: &str, event: &M) -> Envelope {
    Envelope {
        timestamp: Some(berth_grpc::time::to_wire(std::time::SystemTime::now())),
        namespace: "test".into(),
        topic: topic.into(),
        event: Some(berth_proto::pack(event)),
    }
}

fn describe(any: &prost_types::Any, id: &str) -> Option<String> {
    use berth_proto::containerd::events::{SandboxCreate, SandboxExit, SandboxStart};
    use berth_proto::containerd::events::{TaskCreate, TaskDelete, TaskExit, TaskStart};
    use berth_proto::containerd::events::{TaskExecAdded, TaskExecStarted};
    use berth_proto::unpack;
    let (of, text) = if let Some(Ok(e)) = unpack::<TaskCreate>(any) {
        (e.container_id, "create".to_owned())
    } else if let Some(Ok(e)) = unpack::<TaskStart>(any) {
        (e.container_id, "start".to_owned())
    } else if let Some(Ok(e)) = unpack::<TaskExecAdded>(any) {
        (e.container_id, format!("exec-added {}", e.exec_id))
    } else if let Some(Ok(e)) = unpack::<TaskExecStarted>(any) {
        (e.container_id, format!("exec-started {}", e.exec_id))
    } else if let Some(Ok(e)) = unpack::<TaskExit>(any) {
        (e.container_id, format!("exit {} {}", e.id, e.exit_status))
    } else if let Some(Ok(e)) = unpack::<TaskDelete>(any) {
        (e.container_id, format!("delete {}", e.exit_status))
    } else if let Some(Ok(e)) = unpack::<SandboxCreate>(any) {
        (e.sandbox_id, "sandbox create".to_owned())
    } else if let Some(Ok(e)) = unpack::<SandboxStart>(any) {
        (e.sandbox_id, "sandbox start".to_owned())
    } else if let Some(Ok(e)) = unpack::<SandboxExit>(any) {
        (e.sandbox_id, format!("sandbox exit {}", e.exit_status))
    } else {
        return None;
    };
    (of == id).then_some(text)
}
