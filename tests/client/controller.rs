//! Sandboxes that run: the whole life of one behind our shim, and the codes of what is not there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::until;
use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::sandbox as api;
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Request, Status};
use containerd_client::types::{Sandbox, sandbox};

use api::controller_client::ControllerClient;
use api::store_client::StoreClient;

use crate::records::labels;
use crate::stage::{Client, Stage, refused};

/// The longest that an event, or the end of a process, may take to come.
const SOON: Duration = Duration::from_secs(20);

/// The calls that name one sandbox.
struct Pod {
    client: Client,
    id: &'static str,
    sandboxer: &'static str,
    runtime: &'static str,
}

macro_rules! calls {
    ($($method:ident: $request:ident -> $response:ident;)*) => {
        $(#[allow(clippy::needless_update, reason = "some have more fields")]
        async fn $method(&self) -> Result<api::$response, Status> {
            let (sandbox_id, sandboxer) = (self.id.to_owned(), self.sandboxer.to_owned());
            let request = api::$request { sandbox_id, sandboxer, ..Default::default() };
            Ok(self.controller().$method(self.client.request(request)).await?.into_inner())
        })*
    };
}

impl Pod {
    fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.client.channel.clone())
    }

    calls! {
        start: ControllerStartRequest -> ControllerStartResponse;
        platform: ControllerPlatformRequest -> ControllerPlatformResponse;
        stop: ControllerStopRequest -> ControllerStopResponse;
        wait: ControllerWaitRequest -> ControllerWaitResponse;
        status: ControllerStatusRequest -> ControllerStatusResponse;
        shutdown: ControllerShutdownRequest -> ControllerShutdownResponse;
        metrics: ControllerMetricsRequest -> ControllerMetricsResponse;
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox {
            sandbox_id: self.id.to_owned(),
            runtime: Some(sandbox::Runtime { name: self.runtime.to_owned(), options: None }),
            labels: labels(&[("a", "1")]),
            sandboxer: self.sandboxer.to_owned(),
            ..Default::default()
        }
    }

    async fn record(&self) -> Result<(), Status> {
        let request = api::StoreCreateRequest { sandbox: Some(self.sandbox()) };
        let mut store = StoreClient::new(self.client.channel.clone());
        store.create(self.client.request(request)).await.map(drop)
    }

    async fn create(&self) -> Result<api::ControllerCreateResponse, Status> {
        let request = api::ControllerCreateRequest {
            sandbox_id: self.id.to_owned(),
            sandboxer: self.sandboxer.to_owned(),
            sandbox: Some(self.sandbox()),
            netns_path: "/proc/self/ns/net".into(),
            ..Default::default()
        };
        Ok(self.controller().create(self.client.request(request)).await?.into_inner())
    }

    async fn update(&self, sandbox: Option<Sandbox>) -> Result<(), Status> {
        let (sandbox_id, sandboxer) = (self.id.to_owned(), self.sandboxer.to_owned());
        let fields = vec!["labels".to_owned()];
        let request = api::ControllerUpdateRequest { sandbox_id, sandboxer, sandbox, fields };
        self.controller().update(self.client.request(request)).await.map(drop)
    }
}

async fn pod(stage: &Stage, id: &'static str) -> Result<Pod> {
    let (client, sandboxer) = (stage.client().await?, "shim");
    Ok(Pod { client, id, sandboxer, runtime: "io.containerd.runc.v2" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_has_its_life_behind_our_shim() -> Result<()> {
    let stage = Stage::new().await?;
    let pod = pod(&stage, "client-sandbox").await?;
    let filters = vec![r#"topic~="^/sandboxes/""#.to_owned()];
    let mut events = EventsClient::new(pod.client.channel.clone());
    let events = events.subscribe(Request::new(SubscribeRequest { filters })).await?;
    pod.record().await?;
    assert_eq!(pod.create().await?.sandbox_id, pod.id);
    let made = pod.status().await?;
    assert_eq!((made.state.as_str(), made.exited_at), ("SANDBOX_NOTREADY", None));

    let started = pod.start().await?;
    assert_eq!((started.sandbox_id.as_str(), started.version), (pod.id, 3));
    ensure!(started.created_at.is_some() && started.address.contains("unix://"), "{started:?}");
    ensure!(stage.node.shims().contains(&started.pid), "{started:?}: {:?}", stage.node.shims());
    let platform = pod.platform().await?.platform.context("a platform")?;
    ensure!(platform.os == "linux" && !platform.architecture.is_empty(), "{platform:?}");
    let ready = pod.status().await?;
    assert_eq!((ready.state.as_str(), ready.pid), ("SANDBOX_READY", started.pid));
    assert_eq!((ready.created_at, ready.address), (started.created_at, started.address));
    let metrics = pod.metrics().await?.metrics.context("metrics")?;
    ensure!(metrics.id == pod.id && metrics.timestamp.is_some(), "{metrics:?}");
    pod.update(Some(pod.sandbox())).await?;
    refused(pod.update(None).await, Code::InvalidArgument, "sandbox can not be nil")?;
    refused(pod.create().await, Code::AlreadyExists, "already running")?;
    refused(pod.start().await, Code::FailedPrecondition, "")?;
    assert_eq!(pod.status().await?.state, "SANDBOX_READY");

    let (ended, stopped) = tokio::join!(pod.wait(), pod.stop());
    stopped.context("stop")?;
    let ended = ended.context("wait")?;
    ensure!(ended.exit_status == 0 && ended.exited_at.is_some(), "{ended:?}");
    // It ends once, and whoever waits later hears of that end.
    assert_eq!(pod.wait().await?.exited_at, ended.exited_at);
    let stopped = pod.status().await?;
    assert_eq!((stopped.state.as_str(), stopped.exited_at), ("SANDBOX_NOTREADY", ended.exited_at));
    pod.shutdown().await?;
    not_there(&pod).await?;
    until("its shim is gone", SOON, || !stage.node.shims().contains(&started.pid))?;
    told(events.into_inner()).await
}

/// The events of one life, in its order.
async fn told(
    mut events: containerd_client::tonic::Streaming<containerd_client::types::Envelope>,
) -> Result<()> {
    for topic in ["/sandboxes/create", "/sandboxes/start", "/sandboxes/exit"] {
        let next = tokio::time::timeout(SOON, events.message()).await;
        let event = next.with_context(|| format!("no {topic}"))??.context("the stream ends")?;
        assert_eq!((event.topic.as_str(), event.namespace.as_str()), (topic, "client"));
    }
    Ok(())
}

/// What of a sandbox that nobody runs is refused, and what is not.
async fn not_there(pod: &Pod) -> Result<()> {
    refused(pod.platform().await, Code::NotFound, pod.id)?;
    refused(pod.wait().await, Code::NotFound, pod.id)?;
    refused(pod.metrics().await, Code::NotFound, pod.id)?;
    refused(pod.shutdown().await, Code::NotFound, pod.id)?;
    refused(pod.start().await, Code::NotFound, "unable to find sandbox")?;
    pod.stop().await.context("stop")?;
    let ended = pod.status().await.context("status")?;
    ensure!(ended.state.is_empty() && ended.exited_at.is_some(), "{ended:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_that_are_not_there_are_refused_as_containerd_does() -> Result<()> {
    let stage = Stage::new().await?;
    let absent = pod(&stage, "client-absent").await?;
    not_there(&absent).await?;
    // A record alone is none that runs.
    absent.record().await?;
    not_there(&absent).await?;
    for (sandboxer, code, words) in [
        ("", Code::InvalidArgument, "sandbox controller name can not be empty"),
        ("nobody", Code::NotFound, "failed to get sandbox controller by nobody"),
    ] {
        let pod = Pod { sandboxer, ..pod(&stage, "client-absent").await? };
        refused(pod.create().await, code, words)?;
        refused(pod.start().await, code, words)?;
        refused(pod.platform().await, code, words)?;
        refused(pod.stop().await, code, words)?;
        refused(pod.wait().await, code, words)?;
        refused(pod.status().await, code, words)?;
        refused(pod.shutdown().await, code, words)?;
        refused(pod.metrics().await, code, words)?;
        refused(pod.update(Some(pod.sandbox())).await, code, words)?;
    }
    let none = Pod { runtime: "io.containerd.nosuch.v1", ..pod(&stage, "client-none").await? };
    refused(none.create().await, Code::Unknown, "containerd-shim-nosuch-v1")?;
    let bad = pod(&stage, "../client").await?;
    refused(bad.create().await, Code::InvalidArgument, "../client")?;
    stage.node.shims_end()
}
