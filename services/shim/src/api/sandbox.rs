//! containerd.runtime.sandbox.v1.Sandbox: a pod without a process of its own.
//!
//! Its containers share this shim; the sandbox itself is a record with a beginning and an end. What
//! it measures is the container that bears its name, as of a pod whose sandbox is a container: without
//! one it has no processes, and nothing to tell of but when it was asked.

use std::sync::Mutex;
use std::time::SystemTime;

use berth_proto::containerd::runtime::sandbox::v1::{
    CreateSandboxRequest, PingRequest, PlatformRequest, PlatformResponse, SandboxMetricsRequest,
    SandboxMetricsResponse, SandboxStatusRequest, SandboxStatusResponse, ShutdownSandboxRequest,
    StartSandboxRequest, StartSandboxResponse, StopSandboxRequest, WaitSandboxRequest,
    WaitSandboxResponse,
};
use berth_proto::containerd::types::{Metric, Platform};
use berth_ttrpc::{Call, Status, reply};
use bytes::Bytes;
use tokio::sync::watch;

use crate::Error;
use crate::clock::timestamp;
use crate::task::Shim;
use crate::tasks::lock;

/// The sandbox of a shim, if it has one.
#[derive(Default)]
pub(crate) struct Sandboxes {
    held: Mutex<Option<Sandbox>>,
}

struct Sandbox {
    id: String,
    created: SystemTime,
    started: bool,
    stopped: watch::Sender<Option<SystemTime>>,
}

impl Sandbox {
    fn stopped_at(&self) -> Option<SystemTime> {
        *self.stopped.borrow()
    }

    fn start(&mut self) -> Result<(), Error> {
        if self.started || self.stopped_at().is_some() {
            return Err(Error::State("cannot start a sandbox that was started or stopped"));
        }
        self.started = true;
        Ok(())
    }

    /// The first stop is the one that counts.
    fn stop(&mut self) {
        let stop = |at: &mut Option<_>| at.is_none() && at.replace(SystemTime::now()).is_none();
        self.stopped.send_if_modified(stop);
    }
}

impl Sandboxes {
    pub(super) async fn call(&self, shim: &Shim, call: Call) -> Result<Bytes, Status> {
        let answer = match call.method.as_str() {
            "CreateSandbox" => self.create(call.decode()?),
            "StartSandbox" => self.start(&call.decode()?),
            "Platform" => self.platform(&call.decode()?),
            "StopSandbox" => self.stop(shim, &call.decode()?),
            "WaitSandbox" => self.wait(&call.decode()?).await,
            "SandboxStatus" => self.status(&call.decode()?),
            "PingSandbox" => self.ping(&call.decode()?),
            "ShutdownSandbox" => self.shutdown(shim, &call.decode()?),
            "SandboxMetrics" => self.metrics(shim, &call.decode()?),
            method => return Err(Status::unimplemented(&call.service, method)),
        };
        Ok(answer?)
    }

    /// Whether the shim has a sandbox: it ends with that then.
    pub(super) fn is_there(&self) -> bool {
        lock(&self.held).is_some()
    }

    fn with<T>(&self, id: &str, act: impl FnOnce(&mut Sandbox) -> T) -> Result<T, Error> {
        match &mut *lock(&self.held) {
            Some(sandbox) if sandbox.id == id => Ok(act(sandbox)),
            _ => Err(Error::NoSandbox(id.to_owned())),
        }
    }

    fn create(&self, request: CreateSandboxRequest) -> Result<Bytes, Error> {
        let id = request.sandbox_id;
        berth_ids::validate_identifier(&id).map_err(Error::invalid("sandbox id"))?;
        let mut held = lock(&self.held);
        match &*held {
            Some(sandbox) if sandbox.id == id => return Err(Error::Exists(id)),
            Some(_) => return Err(Error::State("the shim has another sandbox, start a shim")),
            None => {}
        }
        let (created, stopped) = (SystemTime::now(), watch::Sender::new(None));
        *held = Some(Sandbox { id, created, started: false, stopped });
        Ok(Bytes::new())
    }

    fn start(&self, request: &StartSandboxRequest) -> Result<Bytes, Error> {
        let start = |sandbox: &mut Sandbox| sandbox.start().map(|()| sandbox.created);
        let created = self.with(&request.sandbox_id, start)??;
        Ok(reply(&StartSandboxResponse {
            pid: std::process::id(),
            created_at: Some(timestamp(created)),
            spec: None,
        }))
    }

    fn platform(&self, request: &PlatformRequest) -> Result<Bytes, Error> {
        self.with(&request.sandbox_id, |_| reply(&PlatformResponse { platform: Some(platform()) }))
    }

    /// The caller has stopped the containers before: how each of them is to end it alone knows.
    fn stop(&self, shim: &Shim, request: &StopSandboxRequest) -> Result<Bytes, Error> {
        self.with(&request.sandbox_id, |sandbox| {
            if shim.busy() {
                return Err(Error::State("containers of the sandbox run, stop them first"));
            }
            sandbox.stop();
            Ok(Bytes::new())
        })?
    }

    async fn wait(&self, request: &WaitSandboxRequest) -> Result<Bytes, Error> {
        let mut stopped = self.with(&request.sandbox_id, |sandbox| sandbox.stopped.subscribe())?;
        let at = stopped.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        Ok(reply(&WaitSandboxResponse { exit_status: 0, exited_at: at.map(timestamp) }))
    }

    fn status(&self, request: &SandboxStatusRequest) -> Result<Bytes, Error> {
        self.with(&request.sandbox_id, |sandbox| {
            let stopped = sandbox.stopped_at();
            let ready = sandbox.started && stopped.is_none();
            reply(&SandboxStatusResponse {
                sandbox_id: sandbox.id.clone(),
                pid: std::process::id(),
                state: if ready { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" }.to_owned(),
                created_at: Some(timestamp(sandbox.created)),
                exited_at: stopped.map(timestamp),
                ..SandboxStatusResponse::default()
            })
        })
    }

    fn ping(&self, request: &PingRequest) -> Result<Bytes, Error> {
        self.with(&request.sandbox_id, |_| Bytes::new())
    }

    /// Ends the shim, and with it the sandbox.
    fn shutdown(&self, shim: &Shim, request: &ShutdownSandboxRequest) -> Result<Bytes, Error> {
        self.with(&request.sandbox_id, |sandbox| {
            if !shim.shutdown() {
                return Err(Error::State("the sandbox has containers, delete them first"));
            }
            sandbox.stop();
            Ok(Bytes::new())
        })?
    }

    fn metrics(&self, shim: &Shim, request: &SandboxMetricsRequest) -> Result<Bytes, Error> {
        let id = self.with(&request.sandbox_id, |sandbox| sandbox.id.clone())?;
        let data = match shim.metrics(&id) {
            Err(Error::NoContainer(_)) => None,
            measured => Some(measured?),
        };
        let timestamp = Some(timestamp(SystemTime::now()));
        let metrics = Some(Metric { timestamp, id, data });
        Ok(reply(&SandboxMetricsResponse { metrics }))
    }
}

fn platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform { os: "linux".into(), architecture: architecture.into(), ..Platform::default() }
}
