//! containerd.runtime.sandbox.v1.Sandbox: a pod without a process of its own.
//!
//! Its containers share this shim; the sandbox itself is a record with a beginning and an end.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::SystemTime;

use berth_errors::Code;
use berth_proto::containerd::runtime::sandbox::v1::{
    CreateSandboxRequest, PlatformResponse, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, StartSandboxRequest, StartSandboxResponse, StopSandboxRequest,
    WaitSandboxRequest, WaitSandboxResponse,
};
use berth_proto::containerd::types::Platform;
use berth_ttrpc::{Call, Status, reply};
use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::timestamp;
use crate::task::Shim;
use crate::tasks::lock;

/// The sandboxes of a shim: none or one.
#[derive(Default)]
pub(crate) struct Sandboxes {
    all: Mutex<HashMap<String, Sandbox>>,
}

struct Sandbox {
    created: SystemTime,
    started: bool,
    stopped: watch::Sender<Option<SystemTime>>,
}

impl Sandboxes {
    pub(super) async fn call(&self, shim: &Shim, call: Call) -> Result<Bytes, Status> {
        match call.method.as_str() {
            "CreateSandbox" => self.create(call.decode()?),
            "StartSandbox" => self.start(&call.decode()?),
            "Platform" => Ok(reply(&PlatformResponse { platform: Some(platform()) })),
            "StopSandbox" => self.stop(&call.decode()?),
            "WaitSandbox" => self.wait(&call.decode()?).await,
            "SandboxStatus" => self.status(&call.decode()?),
            "PingSandbox" => Ok(Bytes::new()),
            "ShutdownSandbox" => {
                shim.shutdown();
                Ok(Bytes::new())
            }
            "SandboxMetrics" => Ok(reply(&SandboxMetricsResponse::default())),
            method => Err(Status::unimplemented(&call.service, method)),
        }
    }

    fn with<T>(&self, id: &str, act: impl FnOnce(&mut Sandbox) -> T) -> Result<T, Status> {
        let text = || Status::new(Code::NotFound, format!("sandbox {id:?}: not found"));
        lock(&self.all).get_mut(id).map(act).ok_or_else(text)
    }

    fn create(&self, request: CreateSandboxRequest) -> Result<Bytes, Status> {
        let mut all = lock(&self.all);
        if all.contains_key(&request.sandbox_id) {
            let text = format!("sandbox {:?}: already exists", request.sandbox_id);
            return Err(Status::new(Code::AlreadyExists, text));
        }
        let stopped = watch::Sender::new(None);
        let sandbox = Sandbox { created: SystemTime::now(), started: false, stopped };
        all.insert(request.sandbox_id, sandbox);
        Ok(Bytes::new())
    }

    fn start(&self, request: &StartSandboxRequest) -> Result<Bytes, Status> {
        let created = self.with(&request.sandbox_id, |sandbox| {
            sandbox.started = true;
            sandbox.created
        })?;
        Ok(reply(&StartSandboxResponse {
            pid: std::process::id(),
            created_at: Some(timestamp(created)),
            spec: None,
        }))
    }

    fn stop(&self, request: &StopSandboxRequest) -> Result<Bytes, Status> {
        self.with(&request.sandbox_id, |sandbox| {
            let stop = |at: &mut Option<_>| at.is_none() && at.replace(SystemTime::now()).is_none();
            sandbox.stopped.send_if_modified(stop);
        })?;
        Ok(Bytes::new())
    }

    async fn wait(&self, request: &WaitSandboxRequest) -> Result<Bytes, Status> {
        let mut stopped = self.with(&request.sandbox_id, |sandbox| sandbox.stopped.subscribe())?;
        let at = stopped.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        Ok(reply(&WaitSandboxResponse { exit_status: 0, exited_at: at.map(timestamp) }))
    }

    fn status(&self, request: &SandboxStatusRequest) -> Result<Bytes, Status> {
        let (created, ready, stopped) = self.with(&request.sandbox_id, |sandbox| {
            let stopped = *sandbox.stopped.borrow();
            (sandbox.created, sandbox.started && stopped.is_none(), stopped)
        })?;
        Ok(reply(&SandboxStatusResponse {
            sandbox_id: request.sandbox_id.clone(),
            pid: std::process::id(),
            state: if ready { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" }.to_owned(),
            created_at: Some(timestamp(created)),
            exited_at: stopped.map(timestamp),
            ..SandboxStatusResponse::default()
        }))
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
