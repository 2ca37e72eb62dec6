//! Small services that implement containerd's interfaces.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use berth_proto::berth::node::v1::node_events_server::{NodeEvents, NodeEventsServer};
use berth_proto::berth::node::v1::{NodeEvent, NodeSubscribeRequest};
use berth_proto::containerd::services::introspection::v1 as introspection;
use berth_proto::containerd::services::streaming::v1::streaming_server::{
    Streaming, StreamingServer,
};
use berth_proto::containerd::services::transfer::v1::TransferRequest;
use berth_proto::containerd::services::transfer::v1::transfer_server::{Transfer, TransferServer};
use futures::{Stream, StreamExt};
use prost_types::Any;
use tonic::metadata::AsciiMetadataKey;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What the echo service saw.
#[derive(Clone, Default)]
pub struct Seen {
    calls: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Seen {
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Serves Transfer and Streaming and counts.
pub fn echo(seen: &Seen) -> Routes {
    let limit = berth_grpc::NODE_MESSAGE;
    let streaming = StreamingServer::new(Echo(seen.clone()));
    Routes::new(TransferServer::new(Echo(seen.clone())).max_decoding_message_size(limit))
        .add_service(streaming.max_decoding_message_size(limit).max_encoding_message_size(limit))
}

struct Echo(Seen);

pub const ERROR: &str = "image \"x\" – größer als gedacht: not found";

#[tonic::async_trait]
impl Transfer for Echo {
    /// The type of the source says what to do.
    async fn transfer(&self, request: Request<TransferRequest>) -> Result<Response<()>, Status> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let seen = ["containerd-namespace", "traceparent", "tracestate"];
        let seen = seen.map(|name| (name, request.metadata().get(name).cloned()));
        let source = request.into_inner().source.unwrap_or_default();
        match source.type_url.as_str() {
            "fail" => Err(Status::with_details(tonic::Code::NotFound, ERROR, vec![1, 2, 3].into())),
            "hang" => {
                let _guard = CountDrop(self.0.dropped.clone());
                std::future::pending().await
            }
            _ => {
                let mut response = Response::new(());
                for (name, value) in seen {
                    if let Some(value) = value {
                        let name = format!("seen-{name}").parse::<AsciiMetadataKey>().unwrap();
                        response.metadata_mut().insert(name, value);
                    }
                }
                Ok(response)
            }
        }
    }
}

#[tonic::async_trait]
impl Streaming for Echo {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<Any, Status>> + Send>>;

    /// Sends back what comes; "fail" ends the stream with an error, "panic" without one. Metadata
    /// "refuse" has the call refused before its end.
    async fn stream(
        &self,
        request: Request<tonic::Streaming<Any>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        if request.metadata().contains_key("refuse") {
            return Err(Status::failed_precondition("refused before the end"));
        }
        let guard = CountDrop(self.0.dropped.clone());
        let echoed = request.into_inner().map(move |message| {
            let _ = &guard;
            match message? {
                any if any.type_url == "fail" => Err(Status::data_loss("in the midst")),
                any if any.type_url == "panic" => panic!("as a test wants it"),
                any => Ok(any),
            }
        });
        Ok(Response::new(Box::pin(echoed)))
    }
}

/// Tells of one plugin, of this type and ID.
pub struct Parts(&'static str, &'static str);

#[tonic::async_trait]
impl introspection::introspection_server::Introspection for Parts {
    async fn plugins(
        &self,
        _: Request<introspection::PluginsRequest>,
    ) -> Result<Response<introspection::PluginsResponse>, Status> {
        let plugin = introspection::Plugin {
            r#type: self.0.into(),
            id: self.1.into(),
            ..Default::default()
        };
        Ok(Response::new(introspection::PluginsResponse { plugins: vec![plugin] }))
    }

    async fn server(
        &self,
        _: Request<()>,
    ) -> Result<Response<introspection::ServerResponse>, Status> {
        let uuid = format!("uuid-of-{}", self.1);
        let id = format!("deprecation-of-{}", self.1);
        let deprecations = vec![introspection::DeprecationWarning { id, ..Default::default() }];
        let server = introspection::ServerResponse { uuid, deprecations, ..Default::default() };
        Ok(Response::new(server))
    }

    async fn plugin_info(
        &self,
        request: Request<introspection::PluginInfoRequest>,
    ) -> Result<Response<introspection::PluginInfoResponse>, Status> {
        let introspection::PluginInfoRequest { r#type, id, .. } = request.into_inner();
        if (&*r#type, &*id) != (self.0, self.1) {
            return Err(Status::not_found(id));
        }
        let plugin = Some(introspection::Plugin { r#type, id, ..Default::default() });
        Ok(Response::new(introspection::PluginInfoResponse { plugin, extra: None }))
    }
}

/// A service that introspection can ask.
pub fn parts(name: &'static str) -> Routes {
    plugin("io.containerd.test.v1", name)
}

/// The same, with a plugin of a type that there is.
pub fn plugin(kind: &'static str, id: &'static str) -> Routes {
    Routes::new(introspection::introspection_server::IntrospectionServer::new(Parts(kind, id)))
}

/// Sends one script of events per subscription, then waits; records what was asked.
#[derive(Clone, Default)]
pub struct Events {
    pub script: Arc<Mutex<Vec<Result<NodeEvent, Status>>>>,
    pub asked: Arc<Mutex<Vec<NodeSubscribeRequest>>>,
}

impl Events {
    pub fn routes(&self) -> Routes {
        Routes::new(NodeEventsServer::new(self.clone()))
    }
}

#[tonic::async_trait]
impl NodeEvents for Events {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<NodeEvent, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<NodeSubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        let script = std::mem::take(&mut *self.script.lock().unwrap());
        let events = futures::stream::iter(script).chain(futures::stream::pending());
        Ok(Response::new(Box::pin(events)))
    }

    type AttendStream = futures::stream::Pending<Result<(), Status>>;

    async fn attend(&self, _: Request<()>) -> Result<Response<Self::AttendStream>, Status> {
        Ok(Response::new(futures::stream::pending()))
    }
}

/// An event of a run of a service.
pub fn event(seq: u64, incarnation: u64, topic: &str) -> Result<NodeEvent, Status> {
    let event = Some(Any { type_url: "x.Y".into(), value: Vec::new() });
    let (topic, namespace) = (topic.to_owned(), "default".to_owned());
    Ok(NodeEvent { seq, incarnation, topic, namespace, event, timestamp: None })
}
