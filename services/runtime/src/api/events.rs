//! Events in and out: the domain's are encoded, a shim's are decoded.
//!
//! Serves `containerd.services.events.v1.Events` Publish and Forward over gRPC (Subscribe is the
//! gateway's, which merges all services) and `containerd.services.events.ttrpc.v1.Events` over
//! ttrpc for shims.

use std::time::SystemTime;

use berth_events::{Position, Ring};
use berth_grpc::{namespace, status, time::from_wire};
use berth_ids::Namespace;
use berth_proto::containerd::events as wire;
use berth_proto::containerd::services::events::ttrpc::v1::ForwardRequest as TtrpcForward;
use berth_proto::containerd::services::events::v1 as api;
use berth_proto::containerd::types::Envelope;
use berth_proto::{type_url, unpack};
use berth_ttrpc::{Call, reply};
use bytes::Bytes;
use futures::stream::BoxStream;
use prost::{Message, Name};
use tonic::{Request, Response, Status};

use super::wire::{any, time, wire_any, wire_mount};
use crate::error::Error;
use crate::events::{Event, Sink, Stamp};
use crate::process::Exit;
use crate::tasks::{Step, Tasks};

/// The ring as the domain sees it.
pub struct RingSink(pub Ring);

impl Sink for RingSink {
    fn publish_at(&self, at: SystemTime, namespace: &Namespace, event: Event) -> Position {
        let Encoded { topic, type_url, value } = encode(event);
        self.0.publish_at(at, namespace.clone(), topic, type_url, value)
    }

    fn recall(&self, stamp: Stamp, namespace: &Namespace, event: Event) {
        let Encoded { topic, type_url, value } = encode(event);
        let (position, timestamp) = (stamp.position, stamp.at);
        let (topic, type_url, namespace) = (topic.into(), type_url.into(), namespace.clone());
        self.0.recall(berth_events::Event {
            position,
            timestamp,
            namespace,
            topic,
            type_url,
            value,
        });
    }
}

struct Encoded {
    topic: String,
    type_url: String,
    value: Bytes,
}

fn encoded<M: Message + Name>(topic: &str, message: &M) -> Encoded {
    let value = message.encode_to_vec().into();
    Encoded { topic: topic.to_owned(), type_url: type_url::<M>(), value }
}

fn encode(event: Event) -> Encoded {
    match event {
        Event::Foreign { topic, event } => {
            Encoded { topic, type_url: event.type_url, value: event.value }
        }
        Event::ContainerCreated { id, image, runtime } => {
            let options = runtime.options.as_ref().map(wire_any);
            let runtime = wire::container_create::Runtime { name: runtime.name, options };
            let message = wire::ContainerCreate { id, image, runtime: Some(runtime) };
            encoded("/containers/create", &message)
        }
        Event::ContainerUpdated { id, image, labels, snapshot_key } => {
            let labels = labels.into_iter().collect();
            let message = wire::ContainerUpdate { id, image, labels, snapshot_key };
            encoded("/containers/update", &message)
        }
        Event::ContainerDeleted { id } => {
            encoded("/containers/delete", &wire::ContainerDelete { id })
        }
        Event::SandboxCreated { id } => {
            encoded("/sandboxes/create", &wire::SandboxCreate { sandbox_id: id })
        }
        Event::SandboxStarted { id } => {
            encoded("/sandboxes/start", &wire::SandboxStart { sandbox_id: id })
        }
        Event::SandboxExited { id, exit } => {
            let (exit_status, exited_at) = (exit.status, time(exit.at));
            let message = wire::SandboxExit { sandbox_id: id, exit_status, exited_at };
            encoded("/sandboxes/exit", &message)
        }
        other => encode_task(other),
    }
}

fn encode_task(event: Event) -> Encoded {
    match event {
        Event::TaskCreated { id, bundle, rootfs, io, checkpoint, pid } => {
            let rootfs = rootfs.iter().map(wire_mount).collect();
            let io = wire::TaskIo {
                stdin: io.stdin,
                stdout: io.stdout,
                stderr: io.stderr,
                terminal: io.terminal,
            };
            let (container_id, io) = (id, Some(io));
            let message = wire::TaskCreate { container_id, bundle, rootfs, io, checkpoint, pid };
            encoded("/tasks/create", &message)
        }
        Event::TaskStarted { id, pid } => {
            encoded("/tasks/start", &wire::TaskStart { container_id: id, pid })
        }
        Event::ExecAdded { id, exec } => {
            let message = wire::TaskExecAdded { container_id: id, exec_id: exec };
            encoded("/tasks/exec-added", &message)
        }
        Event::ExecStarted { id, exec, pid } => {
            let message = wire::TaskExecStarted { container_id: id, exec_id: exec, pid };
            encoded("/tasks/exec-started", &message)
        }
        Event::Exited { id, process, exit } => {
            let message = wire::TaskExit {
                container_id: id,
                id: process,
                pid: exit.pid,
                exit_status: exit.status,
                exited_at: time(exit.at),
            };
            encoded("/tasks/exit", &message)
        }
        Event::TaskDeleted { id, exit } => {
            let message = wire::TaskDelete {
                container_id: id,
                pid: exit.pid,
                exit_status: exit.status,
                exited_at: time(exit.at),
                id: String::new(),
            };
            encoded("/tasks/delete", &message)
        }
        Event::Foreign { .. }
        | Event::ContainerCreated { .. }
        | Event::ContainerUpdated { .. }
        | Event::ContainerDeleted { .. }
        | Event::SandboxCreated { .. }
        | Event::SandboxStarted { .. }
        | Event::SandboxExited { .. } => encode(event),
    }
}

/// The container whose task was frozen or thawed, as a shim's event tells, and which of the two.
fn pausing(topic: &str, event: &prost_types::Any) -> Option<(String, bool)> {
    match topic {
        "/tasks/paused" => {
            let e = unpack::<wire::TaskPaused>(event)?.ok()?;
            Some((e.container_id, true))
        }
        "/tasks/resumed" => {
            let e = unpack::<wire::TaskResumed>(event)?.ok()?;
            Some((e.container_id, false))
        }
        _ => None,
    }
}

/// The step of a task that a shim's event tells, with the container. What comes under another topic
/// than that of its kind is none.
fn step(topic: &str, event: &prost_types::Any) -> Option<(String, Step)> {
    fn read<M: Message + Name + Default>(event: &prost_types::Any) -> Option<M> {
        unpack(event)?.ok()
    }
    let exit = |pid, status, at: Option<&prost_types::Timestamp>| {
        let at = from_wire(at).unwrap_or_else(SystemTime::now);
        Exit { pid, status, at }
    };
    match topic {
        "/tasks/create" => {
            let e: wire::TaskCreate = read(event)?;
            Some((e.container_id, Step::Created { pid: e.pid }))
        }
        "/tasks/start" => {
            let e: wire::TaskStart = read(event)?;
            Some((e.container_id, Step::Started { exec: String::new(), pid: e.pid }))
        }
        "/tasks/exec-added" => {
            let e: wire::TaskExecAdded = read(event)?;
            Some((e.container_id, Step::Added { exec: e.exec_id }))
        }
        "/tasks/exec-started" => {
            let e: wire::TaskExecStarted = read(event)?;
            Some((e.container_id, Step::Started { exec: e.exec_id, pid: e.pid }))
        }
        "/tasks/exit" => {
            let e: wire::TaskExit = read(event)?;
            let exec = if e.id == e.container_id { String::new() } else { e.id };
            let exit = exit(e.pid, e.exit_status, e.exited_at.as_ref());
            Some((e.container_id, Step::Exited { exec, exit }))
        }
        "/tasks/delete" => {
            let e: wire::TaskDelete = read(event)?;
            let exit = exit(e.pid, e.exit_status, e.exited_at.as_ref());
            let first = e.id.is_empty() || e.id == e.container_id;
            first.then_some((e.container_id, Step::Deleted { exit }))
        }
        _ => None,
    }
}

/// An event that somebody else hands over.
struct Handed {
    at: SystemTime,
    ns: Namespace,
    topic: String,
    event: prost_types::Any,
}

impl Handed {
    fn read(envelope: Option<Envelope>) -> Result<Self, Error> {
        let missing = || Error::Invalid("envelope must be set".into());
        let Envelope { timestamp, namespace, topic, event } = envelope.ok_or_else(missing)?;
        let ns = namespace.parse::<Namespace>();
        let what = "event envelope has invalid namespace";
        let ns = ns.map_err(|source| Error::Name { what, source })?;
        validate_topic(&topic)?;
        let untimed = || Error::Invalid("timestamp must be set on forwarded event".into());
        let at = from_wire(timestamp.as_ref()).ok_or_else(untimed)?;
        Ok(Self { at, ns, topic, event: set(event)? })
    }

    /// Tells of it as it is.
    fn tell(self, ring: &Ring) {
        let Self { at, ns, topic, event } = self;
        let event = Event::Foreign { topic, event: any(event) };
        RingSink(ring.clone()).publish_at(at, &ns, event);
    }
}

fn set(event: Option<prost_types::Any>) -> Result<prost_types::Any, Error> {
    event.ok_or_else(|| Error::Invalid("event must be set".into()))
}

/// Takes events from shims, on their own socket: what they say of the life of a task of ours is
/// believed, and told once. It is for root alone, and who is behind a connection is not asked: a
/// shim may have one process that serves and others that publish.
#[derive(Clone)]
pub struct Forwarder {
    /// The tasks that they are about.
    pub tasks: Tasks,
    /// Where events go that are not about the life of a task.
    pub ring: Ring,
}

impl Forwarder {
    fn forward(&self, envelope: Option<Envelope>) -> Result<(), Error> {
        let handed = Handed::read(envelope)?;
        // Before it is told: whoever asks then is to hear of it.
        if let Some((id, paused)) = pausing(&handed.topic, &handed.event) {
            self.tasks.note_paused(&handed.ns, &id, paused);
        }
        if let Some((id, step)) = step(&handed.topic, &handed.event)
            && self.tasks.note(handed.at, &handed.ns, &id, step)
        {
            return Ok(());
        }
        handed.tell(&self.ring);
        Ok(())
    }
}

impl berth_ttrpc::Handler for Forwarder {
    async fn call(&self, call: Call) -> Result<Bytes, berth_ttrpc::Status> {
        let refused = |error: Error| {
            let code = berth_errors::Coded::code(&error);
            berth_ttrpc::Status::new(code, berth_errors::chain(&error))
        };
        match (call.service.as_str(), call.method.as_str()) {
            ("containerd.services.events.ttrpc.v1.Events", "Forward") => {
                let request: TtrpcForward = call.decode()?;
                self.forward(request.envelope).map_err(refused)?;
                Ok(reply(&()))
            }
            (service, method) => Err(berth_ttrpc::Status::unimplemented(service, method)),
        }
    }
}

/// Serves events over gRPC. What clients publish is told as it is, whatever it says: nothing of it
/// is believed of a task.
pub(super) struct Service(pub(super) Ring);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl api::events_server::Events for Service {
    async fn publish(&self, request: Request<api::PublishRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let api::PublishRequest { topic, event } = request.into_inner();
        validate_topic(&topic).map_err(status)?;
        let event = set(event).map_err(status)?;
        Handed { at: SystemTime::now(), ns, topic, event }.tell(&self.0);
        Ok(Response::new(()))
    }

    async fn forward(&self, request: Request<api::ForwardRequest>) -> Answer<()> {
        Handed::read(request.into_inner().envelope).map_err(status)?.tell(&self.0);
        Ok(Response::new(()))
    }

    type SubscribeStream = BoxStream<'static, Result<Envelope, Status>>;

    async fn subscribe(
        &self,
        _request: Request<api::SubscribeRequest>,
    ) -> Answer<Self::SubscribeStream> {
        let text = "subscribe to the events of one service, use the gateway's socket";
        Err(status(Error::Unimplemented(text)))
    }
}

/// containerd's rule: `/a/b`, each part an identifier.
fn validate_topic(topic: &str) -> Result<(), Error> {
    let invalid = |why: &str| Err(Error::Invalid(format!("envelope topic {topic:?}: {why}")));
    match topic.strip_prefix('/') {
        None if topic.is_empty() => invalid("must not be empty"),
        None => invalid("must start with '/'"),
        Some("") => invalid("must have at least one component"),
        Some(rest) => {
            for part in rest.split('/') {
                berth_ids::validate_identifier(part).map_err(|source| {
                    let step = format!("envelope topic {topic:?}: failed validation on component");
                    Error::within(format!("{step} {part:?}"))(Error::Identifier(source))
                })?;
            }
            Ok(())
        }
    }
}
