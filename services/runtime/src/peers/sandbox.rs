//! A shim's sandbox service.

use std::time::Duration;

use berth_ids::Namespace;
use berth_proto::containerd::runtime::sandbox::v1 as wire;
use prost::Message;
use tracing::Span;

use super::options::wire as wire_any;
use super::runs;
use super::sandboxes::measured;
use super::shim::{FOREVER, QUICK, SLOW, wire_mount};
use super::transport::Transport;
use crate::error::Result;
use crate::process::Exit;
use crate::sandboxes::{Measured, Platform, Report, Setup, Started};
use crate::shims::{Bootstrap, Timeouts};

const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// A connection to one shim, for the sandbox that it holds.
#[derive(Clone)]
pub struct SandboxClient {
    transport: Transport,
    id: String,
}

impl SandboxClient {
    /// Connects to the shim of sandbox `id`.
    ///
    /// # Errors
    /// [`crate::error::Error::Shim`], as of every call here.
    pub async fn connect(
        bootstrap: &Bootstrap,
        ns: &Namespace,
        id: &str,
        timeouts: &Timeouts,
    ) -> Result<Self> {
        let transport = Transport::connect(bootstrap, ns, timeouts.load).await?;
        Ok(Self { transport, id: id.to_owned() })
    }

    /// Returns when the connection has ended.
    pub async fn closed(&self) {
        self.transport.closed().await;
    }

    async fn call<M: Message + Default + 'static>(
        &self,
        method: &str,
        request: impl Message + 'static,
        deadline: Duration,
    ) -> Result<M> {
        let more = runs::Wanted::of(&Span::current(), None).headers();
        self.transport.call(SANDBOX, method, request, deadline, more).await
    }

    fn id(&self) -> String {
        self.id.clone()
    }

    /// Makes the sandbox in its folder.
    pub async fn create(&self, bundle: &str, setup: &Setup) -> Result<()> {
        let request = wire::CreateSandboxRequest {
            sandbox_id: self.id(),
            bundle_path: bundle.to_owned(),
            rootfs: setup.rootfs.iter().map(wire_mount).collect(),
            options: setup.options.as_ref().map(wire_any),
            netns_path: setup.netns_path.clone(),
            annotations: setup.annotations.clone().into_iter().collect(),
        };
        self.call("CreateSandbox", request, SLOW).await
    }

    /// Starts it.
    pub async fn start(&self) -> Result<Started> {
        let request = wire::StartSandboxRequest { sandbox_id: self.id() };
        let answer: wire::StartSandboxResponse = self.call("StartSandbox", request, SLOW).await?;
        Ok(answer.into())
    }

    /// What its containers run on.
    pub async fn platform(&self) -> Result<Platform> {
        let request = wire::PlatformRequest { sandbox_id: self.id() };
        let answer: wire::PlatformResponse = self.call("Platform", request, QUICK).await?;
        Ok(answer.into())
    }

    /// Stops it, by force after so many seconds.
    pub async fn stop(&self, seconds: u32) -> Result<()> {
        let request = wire::StopSandboxRequest { sandbox_id: self.id(), timeout_secs: seconds };
        let deadline = SLOW + Duration::from_secs(seconds.into());
        self.call("StopSandbox", request, deadline).await
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Result<Exit> {
        let request = wire::WaitSandboxRequest { sandbox_id: self.id() };
        let answer: wire::WaitSandboxResponse = self.call("WaitSandbox", request, FOREVER).await?;
        Ok(answer.into())
    }

    /// How it is.
    pub async fn status(&self, verbose: bool) -> Result<Report> {
        self.status_within(verbose, QUICK).await
    }

    /// How it is, however long the shim takes.
    pub async fn status_at_last(&self) -> Result<Report> {
        self.status_within(false, FOREVER).await
    }

    async fn status_within(&self, verbose: bool, deadline: Duration) -> Result<Report> {
        let request = wire::SandboxStatusRequest { sandbox_id: self.id(), verbose };
        let answer: wire::SandboxStatusResponse =
            self.call("SandboxStatus", request, deadline).await?;
        Ok(answer.into())
    }

    /// What it uses.
    pub async fn metrics(&self) -> Result<Option<Measured>> {
        let request = wire::SandboxMetricsRequest { sandbox_id: self.id() };
        let answer: wire::SandboxMetricsResponse =
            self.call("SandboxMetrics", request, QUICK).await?;
        Ok(measured(answer.metrics))
    }

    /// Ends it with its shim.
    pub async fn shutdown(&self) -> Result<()> {
        let request = wire::ShutdownSandboxRequest { sandbox_id: self.id() };
        self.call("ShutdownSandbox", request, QUICK).await
    }
}
