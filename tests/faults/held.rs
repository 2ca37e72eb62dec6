//! A call of each kind that is under way when a fault sets in: its head has reached the node, or its
//! program runs, and it goes on when the fault is there.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use berth_testkit::until;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{
    KillRequest, ListImagesRequest, ListImagesResponse, ReadContentRequest, TransferRequest,
    VersionResponse,
};
use containerd_client::to_any;
use containerd_client::tonic::client::Grpc;
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Status};
use containerd_client::types::transfer::{ImageStore, OciRegistry};
use prost::Message;
use tokio::sync::oneshot;
use tonic_prost::ProstCodec;

use crate::calls::{ALL, BOUND, Begun, DEADLINE, End, Kind};
use crate::effect::within;
use crate::stage::{STEADY, Stage};

/// How long a call may take to be under way.
const SOON: Duration = Duration::from_secs(30);

/// The calls, and what has them go on.
pub struct Held {
    begun: Vec<Begun>,
    go: Vec<oneshot::Sender<Instant>>,
    file: PathBuf,
    /// The calls that say that they are under way, and the files that programs write.
    calls: Vec<(Kind, Receiver<()>)>,
    programs: Vec<(Kind, PathBuf)>,
}

impl Held {
    /// Begins one of each kind, and waits until all are under way.
    pub fn begin(stage: &Stage, round: &str, deadline: Duration) -> Result<Self> {
        let file = stage.node.path("beat").join(format!("go-{round}"));
        let (begun, go, calls, programs) = (vec![], vec![], vec![], vec![]);
        let mut held = Self { begun, go, file, calls, programs };
        for kind in ALL {
            match kind {
                Kind::Run | Kind::Exec => held.program(stage, kind, round, deadline),
                _ => held.call(stage, kind),
            }
        }
        for (kind, is_here) in &held.calls {
            let here = is_here.recv_timeout(SOON);
            here.with_context(|| format!("{} is not under way", kind.words()))?;
        }
        for (kind, here) in &held.programs {
            let waits = until("a program waits in its container", SOON, || here.exists());
            waits.with_context(|| kind.words())?;
        }
        Ok(held)
    }

    /// Has them go on, for somebody to wait for.
    pub fn go_on(self) -> Result<Vec<Begun>> {
        fs_err::write(self.file, "")?;
        // One that has ended needs no word.
        for go in self.go {
            let _ = go.send(Instant::now());
        }
        Ok(self.begun)
    }

    /// A client that waits for a program in a container, which waits for a file.
    fn program(&mut self, stage: &Stage, kind: Kind, round: &str, deadline: Duration) {
        let id = stage.id(round);
        let line = match kind {
            Kind::Run => format!("run --rm {} {} {id}-held", stage.mount(), stage.image),
            _ => format!("tasks exec --exec-id {id}-held {}", stage.id(STEADY)),
        };
        let here = format!("here-{round}-{kind:?}");
        let script =
            format!("echo > /beat/{here}; until test -e /beat/go-{round}; do sleep 0.1; done");
        let client = stage.node.ctr(&format!("--timeout {deadline:?} {line}"));
        let client = client.args(["sh", "-c", &script]).patience(deadline + BOUND);
        self.begun.push(Begun::client(kind, client));
        self.programs.push((kind, stage.node.path("beat").join(here)));
    }

    fn call(&mut self, stage: &Stage, kind: Kind) {
        let (go, gone) = oneshot::channel();
        let (here, is_here) = channel();
        let call = Call {
            address: stage.node.address(),
            blob: stage.blob.clone(),
            steady: stage.id(STEADY),
            image: stage.fresh.clone() + "-held",
        };
        let begun = move || -> Result<(End, Duration)> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(call.end(kind, here, gone))
        };
        self.begun.push(Begun { kind, call: std::thread::spawn(begun) });
        self.go.push(go);
        self.calls.push((kind, is_here));
    }
}

/// A connection that is there.
pub async fn open(address: &Path) -> Result<Channel> {
    let channel = containerd_client::connect(address).await?;
    VersionClient::new(channel.clone()).version(within(())).await?;
    Ok(channel)
}

/// What the calls are about.
struct Call {
    address: PathBuf,
    blob: String,
    steady: String,
    image: String,
}

impl Call {
    /// How it ends. Its deadline counts from when it goes on.
    async fn end(
        self,
        kind: Kind,
        here: Sender<()>,
        gone: oneshot::Receiver<Instant>,
    ) -> Result<(End, Duration)> {
        let channel = open(&self.address).await?;
        let (go, goes) = oneshot::channel();
        let here = || {
            let _ = here.send(());
        };
        let mut call = std::pin::pin!(self.make(channel, kind, here, goes));
        let (ended, started) = tokio::select! {
            ended = &mut call => (Some(ended), Instant::now()),
            started = gone => (None, started?),
        };
        let _ = go.send(());
        let ended = match ended {
            Some(ended) => Ok(ended),
            None => tokio::time::timeout(DEADLINE, call).await,
        };
        let end = match ended {
            Err(_) => End::Deadline,
            Ok(Ok(())) => End::Works,
            Ok(Err(status)) => of(&status).with_context(|| format!("{status:?}"))?,
        };
        Ok((end, started.elapsed()))
    }

    /// `here` is called once it is under way; it goes on when `gone` says so.
    async fn make(
        self,
        channel: Channel,
        kind: Kind,
        here: impl FnOnce(),
        gone: oneshot::Receiver<()>,
    ) -> Result<(), Status> {
        match kind {
            Kind::Blob => self.read(channel, here, gone).await,
            Kind::Images => {
                let path = "/containerd.services.images.v1.Images/List";
                let list = ListImagesRequest::default();
                held::<_, ListImagesResponse>(channel, path, list, here, gone).await
            }
            Kind::Pull => {
                let from = OciRegistry { reference: self.image.clone(), resolver: None };
                let to = ImageStore { name: self.image, ..Default::default() };
                let (source, destination) = (Some(to_any(&from)), Some(to_any(&to)));
                let pull = TransferRequest { source, destination, ..Default::default() };
                let path = "/containerd.services.transfer.v1.Transfer/Transfer";
                held::<_, ()>(channel, path, pull, here, gone).await
            }
            Kind::Stop => {
                // SIGCONT, which nobody is hurt by.
                let kill =
                    KillRequest { container_id: self.steady, signal: 18, ..Default::default() };
                held::<_, ()>(channel, "/containerd.services.tasks.v1.Tasks/Kill", kill, here, gone)
                    .await
            }
            _ => {
                let path = "/containerd.services.version.v1.Version/Version";
                held::<_, VersionResponse>(channel, path, (), here, gone).await
            }
        }
    }

    async fn read(
        &self,
        channel: Channel,
        here: impl FnOnce(),
        gone: oneshot::Receiver<()>,
    ) -> Result<(), Status> {
        let read = ReadContentRequest { digest: self.blob.clone(), ..Default::default() };
        let mut client = ContentClient::new(channel).max_decoding_message_size(16 << 20);
        let mut pieces = client.read(within(read)).await?.into_inner();
        pieces.message().await?;
        here();
        let _ = gone.await;
        while pieces.message().await?.is_some() {}
        Ok(())
    }
}

/// Makes a call whose message follows later than its head.
async fn held<M, A>(
    channel: Channel,
    path: &'static str,
    message: M,
    here: impl FnOnce(),
    gone: oneshot::Receiver<()>,
) -> Result<(), Status>
where
    M: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let mut other = VersionClient::new(channel.clone());
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let message = later(message, gone);
    let codec = ProstCodec::<M, A>::default();
    let path = http_path(path);
    let call = client.client_streaming(within(message), path, codec);
    let mut call = std::pin::pin!(call);
    // The head of the first goes before that of the second, on one connection.
    tokio::select! {
        biased;
        ended = &mut call => return ended.map(drop),
        version = other.version(within(())) => drop(version?),
    }
    here();
    call.await.map(drop)
}

/// The message, as soon as it may go.
fn later<M>(
    message: M,
    gone: oneshot::Receiver<()>,
) -> impl tokio_stream::Stream<Item = M> + Send + 'static
where
    M: Send + 'static,
{
    futures::stream::once(async move {
        let _ = gone.await;
        message
    })
}

fn http_path(path: &'static str) -> containerd_client::tonic::codegen::http::uri::PathAndQuery {
    containerd_client::tonic::codegen::http::uri::PathAndQuery::from_static(path)
}

/// By the codes themselves.
fn of(status: &Status) -> Option<End> {
    match status.code() {
        Code::Unavailable => Some(End::Unavailable),
        // A gateway that ends says nothing: the client has no code for that.
        Code::Unknown | Code::Cancelled | Code::Internal
            if ["transport error", "connection", "h2 protocol error"]
                .iter()
                .any(|words| status.message().contains(words)) =>
        {
            Some(End::Unavailable)
        }
        Code::DeadlineExceeded => Some(End::Deadline),
        Code::ResourceExhausted => Some(End::Exhausted),
        _ => None,
    }
}
