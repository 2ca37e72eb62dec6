//! `containerd.services.sandbox.v1.Controller`: each call goes to the sandboxer that it names.

use std::time::SystemTime;

use berth_grpc::{namespace, status};
use berth_proto::containerd::services::sandbox::v1 as wire;
use berth_proto::containerd::types;
use tonic::{Request, Response, Status};
use wire::controller_server::Controller as Api;

use super::sandboxes::from_wire;
use super::wire::{about, any, mount, time, wire_any};
use crate::error::Error;
use crate::records::{Runtime, Sandbox};
use crate::sandboxes::{Endpoint, Measured, Sandboxer, Sandboxers, Setup};

/// Serves sandboxes that run.
pub(super) struct Service(pub(super) Sandboxers);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Api for Service {
    async fn create(
        &self,
        request: Request<wire::ControllerCreateRequest>,
    ) -> Answer<wire::ControllerCreateResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandboxer = self.named(&request.sandboxer)?;
        let sandbox_id = request.sandbox_id;
        about(&sandbox_id, "");
        let sandbox = match request.sandbox {
            Some(sandbox) => from_wire(Some(sandbox))?,
            None => unrecorded(sandbox_id.clone(), request.sandboxer),
        };
        let setup = Setup {
            rootfs: request.rootfs.into_iter().map(mount).collect(),
            options: request.options.map(any),
            netns_path: request.netns_path,
            annotations: request.annotations.into_iter().collect(),
        };
        sandboxer.create(&ns, sandbox, setup).await.map_err(status)?;
        Ok(Response::new(wire::ControllerCreateResponse { sandbox_id }))
    }

    async fn start(
        &self,
        request: Request<wire::ControllerStartRequest>,
    ) -> Answer<wire::ControllerStartResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerStartRequest { sandbox_id, sandboxer } = request.into_inner();
        about(&sandbox_id, "");
        let started = self.named(&sandboxer)?.start(&ns, &sandbox_id).await;
        let (started, Endpoint { address, version }) = started.map_err(status)?;
        Ok(Response::new(wire::ControllerStartResponse {
            sandbox_id,
            pid: started.pid,
            created_at: started.created.and_then(time),
            address,
            version,
            spec: started.spec.as_ref().map(wire_any),
            labels: started.labels.into_iter().collect(),
        }))
    }

    async fn platform(
        &self,
        request: Request<wire::ControllerPlatformRequest>,
    ) -> Answer<wire::ControllerPlatformResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerPlatformRequest { sandbox_id, sandboxer } = request.into_inner();
        about(&sandbox_id, "");
        let found = self.named(&sandboxer)?.platform(&ns, &sandbox_id).await.map_err(status)?;
        let (os, architecture, variant) = (found.os, found.architecture, found.variant);
        let platform = types::Platform { os, architecture, variant, ..Default::default() };
        Ok(Response::new(wire::ControllerPlatformResponse { platform: Some(platform) }))
    }

    async fn stop(
        &self,
        request: Request<wire::ControllerStopRequest>,
    ) -> Answer<wire::ControllerStopResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerStopRequest { sandbox_id, timeout_secs, sandboxer } =
            request.into_inner();
        about(&sandbox_id, "");
        self.named(&sandboxer)?.stop(&ns, &sandbox_id, timeout_secs).await.map_err(status)?;
        Ok(Response::new(wire::ControllerStopResponse {}))
    }

    async fn wait(
        &self,
        request: Request<wire::ControllerWaitRequest>,
    ) -> Answer<wire::ControllerWaitResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerWaitRequest { sandbox_id, sandboxer } = request.into_inner();
        about(&sandbox_id, "");
        let exit = self.named(&sandboxer)?.wait(&ns, &sandbox_id).await.map_err(status)?;
        let (exit_status, exited_at) = (exit.status, time(exit.at));
        Ok(Response::new(wire::ControllerWaitResponse { exit_status, exited_at }))
    }

    async fn status(
        &self,
        request: Request<wire::ControllerStatusRequest>,
    ) -> Answer<wire::ControllerStatusResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerStatusRequest { sandbox_id, verbose, sandboxer } = request.into_inner();
        about(&sandbox_id, "");
        let found = self.named(&sandboxer)?.status(&ns, &sandbox_id, verbose).await;
        let (report, Endpoint { address, version }) = found.map_err(status)?;
        Ok(Response::new(wire::ControllerStatusResponse {
            sandbox_id: report.id,
            pid: report.pid,
            state: report.state,
            info: report.info.into_iter().collect(),
            created_at: report.created.and_then(time),
            exited_at: report.exited.and_then(time),
            extra: report.extra.as_ref().map(wire_any),
            address,
            version,
        }))
    }

    async fn shutdown(
        &self,
        request: Request<wire::ControllerShutdownRequest>,
    ) -> Answer<wire::ControllerShutdownResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerShutdownRequest { sandbox_id, sandboxer } = request.into_inner();
        about(&sandbox_id, "");
        self.named(&sandboxer)?.shutdown(&ns, &sandbox_id).await.map_err(status)?;
        Ok(Response::new(wire::ControllerShutdownResponse {}))
    }

    async fn metrics(
        &self,
        request: Request<wire::ControllerMetricsRequest>,
    ) -> Answer<wire::ControllerMetricsResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerMetricsRequest { sandbox_id, sandboxer } = request.into_inner();
        about(&sandbox_id, "");
        let measured = self.named(&sandboxer)?.metrics(&ns, &sandbox_id).await.map_err(status)?;
        let metric = |Measured { at, id, data }| types::Metric {
            timestamp: at.and_then(time),
            id,
            data: data.as_ref().map(wire_any),
        };
        Ok(Response::new(wire::ControllerMetricsResponse { metrics: measured.map(metric) }))
    }

    async fn update(
        &self,
        request: Request<wire::ControllerUpdateRequest>,
    ) -> Answer<wire::ControllerUpdateResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerUpdateRequest { sandbox_id, sandboxer, sandbox, fields } =
            request.into_inner();
        about(&sandbox_id, "");
        let sandboxer = self.named(&sandboxer)?;
        if sandbox.is_none() {
            return Err(status(Error::Invalid("sandbox can not be nil".into())));
        }
        let sandbox = from_wire(sandbox)?;
        sandboxer.update(&ns, &sandbox_id, sandbox, fields).await.map_err(status)?;
        Ok(Response::new(wire::ControllerUpdateResponse {}))
    }
}

impl Service {
    #[allow(clippy::result_large_err, reason = "handlers return Status")]
    fn named(&self, sandboxer: &str) -> Result<&dyn Sandboxer, Status> {
        self.0.named(sandboxer).map_err(status)
    }
}

/// A sandbox whose record is not given along.
fn unrecorded(id: String, sandboxer: String) -> Sandbox {
    Sandbox {
        id,
        runtime: Runtime::default(),
        spec: None,
        labels: berth_ids::Labels::new(),
        extensions: std::collections::BTreeMap::new(),
        sandboxer,
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}
