//! What shows that a fault is there: a fault without an effect proves nothing. A client that looks at
//! codes, and is connected since before, asks until it is seen; a service that was killed is another
//! process afterwards, one that is stopped is told so by the kernel.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Node, sha256};
use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{
    ListSnapshotsRequest, PrepareSnapshotRequest, UsageRequest,
};
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, ListImagesRequest, ListTasksRequest,
    WriteAction, WriteContentRequest,
};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, IntoRequest, Request, Status};
use prost_types::Any;

use crate::burden::burden;
use crate::fault::{BUNDLE, DISTRIBUTION, Fault, GATEWAY, RUNTIME, SUPERVISOR, is_stopped};
use crate::held::open;
use crate::stage::Stage;

/// A service that is silent for twice 20 s is given up; the rest is for a machine that is busy.
const BOUND: Duration = Duration::from_secs(90);
/// Within which a new client must not be answered by a gateway that cannot accept it.
const REFUSED: Duration = Duration::from_secs(5);
/// After which a gateway is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// More than a store has in hand.
const SIZE: usize = 256 << 10;
/// What a connection takes at once: it needs no descriptor more.
const SMALL: usize = 1 << 10;

/// The message in the namespace.
pub fn within<T>(message: T) -> Request<T> {
    let mut request = message.into_request();
    request.metadata_mut().insert("containerd-namespace", "default".parse().expect("a value"));
    request
}

fn has_run_out(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted
}

/// The process of a service, or of berthd.
fn pid(node: &Node, service: &str) -> Result<u32> {
    if service == SUPERVISOR { node.berthd_pid() } else { node.service_pid(service) }
}

/// Where a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As clients do.
    Gateway,
    /// On its own socket, as the gateway has a fault too.
    Past,
    /// The gateway does not let anybody through to one that says nothing: only the kernel tells.
    None,
}

/// A fault that is to come, and who looks for its effect.
pub struct Effect {
    fault: Fault,
    service: &'static str,
    way: Way,
    pid: u32,
    number: usize,
    runtime: tokio::runtime::Runtime,
    /// There before the fault is, with all connections behind it.
    channel: Channel,
}

/// Who looks for an effect.
pub struct Looking {
    fault: Fault,
    service: &'static str,
    pid: u32,
    asked: JoinHandle<Result<()>>,
}

impl Effect {
    /// Connects, before the fault is made.
    pub fn awaited(
        stage: &Stage,
        (fault, service): (Fault, &'static str),
        way: Way,
        number: usize,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let pid = pid(&stage.node, service)?;
        let past = way == Way::Past && ![GATEWAY, SUPERVISOR].contains(&service);
        let own = format!("state/{}.sock", service.trim_start_matches("berth-"));
        let at = if past { stage.node.path(&own) } else { stage.node.address() };
        let channel = runtime.block_on(containerd_client::connect(at))?;
        let effect = Self { fault, service, way, pid, number, runtime, channel };
        if matches!(fault, Fault::Disk | Fault::Descriptors) && service != GATEWAY {
            let first = effect.runtime.block_on(effect.keep("first"));
            ensure!(!first.as_ref().is_some_and(has_run_out), "before the fault: {first:?}");
        }
        Ok(effect)
    }

    /// Asks for what needs what is to run out.
    async fn keep(&self, which: &str) -> Option<Status> {
        let name = format!("effect-{}-{which}", self.number);
        let size = if self.fault == Fault::Disk { SIZE } else { SMALL };
        keep(self.channel.clone(), self.service, &name, size).await.err()
    }

    /// Begins to look, once the fault is there.
    pub fn look(self, stage: &Stage) -> Looking {
        let (fault, service, pid) = (self.fault, self.service, self.pid);
        let address = stage.node.address();
        let asked = std::thread::spawn(move || self.ask(address));
        Looking { fault, service, pid, asked }
    }

    /// Asks until it is seen, where a call can tell.
    fn ask(self, address: PathBuf) -> Result<()> {
        let asked = async { tokio::time::timeout(BOUND, self.asked(&address)).await };
        let asked = self.runtime.block_on(asked);
        let words = || format!("{} {}: no effect is seen", self.service, self.fault.words());
        asked.with_context(words)?
    }

    async fn asked(&self, address: &Path) -> Result<()> {
        let service = self.service;
        match (self.fault, service) {
            (Fault::Stopped, DISTRIBUTION | BUNDLE | RUNTIME) if self.way != Way::None => {
                // A gateway that was killed has to be back.
                let channel = loop {
                    match open(address).await {
                        Ok(channel) => break channel,
                        Err(_) => tokio::time::sleep(AGAIN).await,
                    }
                };
                let told = list(channel, service).await.err().map(|status| status.code());
                ensure!(told == Some(Code::Unavailable), "{service}: {told:?} of a list");
            }
            (Fault::Descriptors, GATEWAY) => {
                let asked = tokio::time::timeout(REFUSED, open(address)).await;
                ensure!(!matches!(asked, Ok(Ok(_))), "a new client is answered");
            }
            (Fault::Memory, _) => {
                let gone = || !PathBuf::from(format!("/proc/{}", self.pid)).exists();
                while !gone() {
                    if burden(address, service, gone).await == Some(Code::ResourceExhausted) {
                        break;
                    }
                }
            }
            (Fault::Disk | Fault::Descriptors, _) => {
                for attempt in 0.. {
                    let told = self.keep(&attempt.to_string()).await;
                    if told.as_ref().is_some_and(has_run_out) {
                        break;
                    }
                    // Another service of the case may be away. Distribution needs none.
                    let code = told.as_ref().map(Status::code);
                    let away =
                        matches!(code, None | Some(Code::Unavailable | Code::DeadlineExceeded));
                    ensure!(away && service != DISTRIBUTION, "{service}: {told:?}");
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Looking {
    /// Waits for those that ask, and looks at what is seen as long as the fault is there.
    pub fn seen(self) -> Result<Left> {
        let (fault, service, pid) = (self.fault, self.service, self.pid);
        self.asked.join().expect("no panic")?;
        if fault == Fault::Stopped {
            ensure!(is_stopped(pid), "{service} was to be stopped");
        }
        Ok(Left { fault, service, pid })
    }
}

/// What is to be seen once all works again.
pub struct Left {
    fault: Fault,
    service: &'static str,
    pid: u32,
}

impl Left {
    /// A service that was killed is another process.
    pub fn seen(&self, node: &Node) -> Result<()> {
        let is = pid(node, self.service)?;
        ensure!(!self.fault.passes() || is != self.pid, "{} was not killed", self.service);
        Ok(())
    }
}

/// Asks a service for what is there, with no deadline.
async fn list(channel: Channel, service: &str) -> Result<(), Status> {
    match service {
        DISTRIBUTION => {
            let list = ListImagesRequest::default();
            ImagesClient::new(channel).list(within(list)).await.map(drop)
        }
        BUNDLE => {
            let list = ListSnapshotsRequest::default();
            let mut listed = SnapshotsClient::new(channel).list(within(list)).await?.into_inner();
            listed.message().await.map(drop)
        }
        _ => {
            let list = ListTasksRequest::default();
            TasksClient::new(channel).list(within(list)).await.map(drop)
        }
    }
}

/// Has a service keep something, or make use of a file.
async fn keep(channel: Channel, service: &str, name: &str, size: usize) -> Result<(), Status> {
    match service {
        DISTRIBUTION => {
            let data = name.as_bytes().iter().copied().cycle().take(size).collect::<Vec<_>>();
            let commit = WriteContentRequest {
                action: WriteAction::Commit.into(),
                r#ref: name.to_owned(),
                expected: sha256(&data),
                data,
                ..Default::default()
            };
            let sent = tokio_stream::iter([commit]);
            let mut answers = ContentClient::new(channel).write(within(sent)).await?.into_inner();
            while answers.message().await?.is_some() {}
            Ok(())
        }
        BUNDLE => {
            let label = |n| (format!("effect-{n}"), "x".repeat(4000));
            let prepare = PrepareSnapshotRequest {
                key: name.to_owned(),
                labels: (0..16).map(label).collect(),
                ..Default::default()
            };
            let mut client = SnapshotsClient::new(channel);
            client.prepare(within(prepare)).await?;
            let usage = UsageRequest { key: name.to_owned(), ..Default::default() };
            client.usage(within(usage)).await.map(drop)
        }
        _ => {
            let spec = Any { type_url: "effect".into(), value: vec![b'x'; size] };
            let container = Container {
                id: name.to_owned(),
                runtime: Some(Runtime { name: "io.containerd.runc.v2".into(), options: None }),
                spec: Some(spec),
                ..Default::default()
            };
            let create = CreateContainerRequest { container: Some(container) };
            ContainersClient::new(channel.clone()).create(within(create)).await?;
            let create = CreateTaskRequest { container_id: name.to_owned(), ..Default::default() };
            TasksClient::new(channel).create(within(create)).await.map(drop)
        }
    }
}
