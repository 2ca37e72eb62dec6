//! `containerd.services.sandbox.v1.Controller`: the sandboxer `shim`, whose sandboxes are run by shims.

use std::time::SystemTime;

use berth_grpc::{namespace, status};
use berth_proto::containerd::services::sandbox::v1 as wire;
use berth_proto::containerd::types;
use tonic::{Request, Response, Status};
use wire::controller_server::Controller as Api;

use super::sandboxes::from_wire;
use super::wire::{any, mount, time, wire_any};
use crate::error::Error;
use crate::records::{Runtime, Sandbox};
use crate::sandboxes::{Controller, Measured, Setup};
use crate::shims::Bootstrap;

/// The name of this controller.
const SANDBOXER: &str = "shim";

/// Serves sandboxes that run.
pub(super) struct Service(pub(super) Controller);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Api for Service {
    async fn create(
        &self,
        request: Request<wire::ControllerCreateRequest>,
    ) -> Answer<wire::ControllerCreateResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        known(&request.sandboxer)?;
        let sandbox_id = request.sandbox_id;
        let sandbox = match request.sandbox {
            Some(sandbox) => from_wire(Some(sandbox))?,
            None => unrecorded(sandbox_id.clone()),
        };
        let setup = Setup {
            rootfs: request.rootfs.into_iter().map(mount).collect(),
            options: request.options.map(any),
            netns_path: request.netns_path,
            annotations: request.annotations.into_iter().collect(),
        };
        self.0.create(ns, sandbox, setup).await.map_err(status)?;
        Ok(Response::new(wire::ControllerCreateResponse { sandbox_id }))
    }

    async fn start(
        &self,
        request: Request<wire::ControllerStartRequest>,
    ) -> Answer<wire::ControllerStartResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerStartRequest { sandbox_id, sandboxer } = request.into_inner();
        known(&sandboxer)?;
        let (started, shim) = self.0.start(&ns, &sandbox_id).await.map_err(status)?;
        let (address, version) = endpoint(shim);
        Ok(Response::new(wire::ControllerStartResponse {
            sandbox_id,
            pid: started.pid,
            created_at: started.created.and_then(time),
            address,
            version,
            spec: started.spec.as_ref().map(wire_any),
            ..Default::default()
        }))
    }

    async fn platform(
        &self,
        request: Request<wire::ControllerPlatformRequest>,
    ) -> Answer<wire::ControllerPlatformResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerPlatformRequest { sandbox_id, sandboxer } = request.into_inner();
        known(&sandboxer)?;
        let found = self.0.platform(&ns, &sandbox_id).await.map_err(status)?;
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
        known(&sandboxer)?;
        self.0.stop(&ns, &sandbox_id, timeout_secs).await.map_err(status)?;
        Ok(Response::new(wire::ControllerStopResponse {}))
    }

    async fn wait(
        &self,
        request: Request<wire::ControllerWaitRequest>,
    ) -> Answer<wire::ControllerWaitResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerWaitRequest { sandbox_id, sandboxer } = request.into_inner();
        known(&sandboxer)?;
        let exit = self.0.wait(&ns, &sandbox_id).await.map_err(status)?;
        let (exit_status, exited_at) = (exit.status, time(exit.at));
        Ok(Response::new(wire::ControllerWaitResponse { exit_status, exited_at }))
    }

    async fn status(
        &self,
        request: Request<wire::ControllerStatusRequest>,
    ) -> Answer<wire::ControllerStatusResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerStatusRequest { sandbox_id, verbose, sandboxer } = request.into_inner();
        known(&sandboxer)?;
        let (report, shim) = self.0.status(&ns, &sandbox_id, verbose).await.map_err(status)?;
        let (address, version) = endpoint(shim);
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
        known(&sandboxer)?;
        self.0.shutdown(&ns, &sandbox_id).await.map_err(status)?;
        Ok(Response::new(wire::ControllerShutdownResponse {}))
    }

    async fn metrics(
        &self,
        request: Request<wire::ControllerMetricsRequest>,
    ) -> Answer<wire::ControllerMetricsResponse> {
        let ns = namespace(&request)?;
        let wire::ControllerMetricsRequest { sandbox_id, sandboxer } = request.into_inner();
        known(&sandboxer)?;
        let measured = self.0.metrics(&ns, &sandbox_id).await.map_err(status)?;
        let metric = |Measured { at, id, data }| types::Metric {
            timestamp: at.and_then(time),
            id,
            data: data.as_ref().map(wire_any),
        };
        Ok(Response::new(wire::ControllerMetricsResponse { metrics: measured.map(metric) }))
    }

    /// Shims have no call for it: containerd's controller of them takes it and does nothing.
    async fn update(
        &self,
        request: Request<wire::ControllerUpdateRequest>,
    ) -> Answer<wire::ControllerUpdateResponse> {
        namespace(&request)?;
        let wire::ControllerUpdateRequest { sandboxer, sandbox, .. } = request.into_inner();
        known(&sandboxer)?;
        if sandbox.is_none() {
            return Err(status(Error::Invalid("sandbox can not be nil".into())));
        }
        Ok(Response::new(wire::ControllerUpdateResponse {}))
    }
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn known(sandboxer: &str) -> Result<(), Status> {
    match sandboxer {
        SANDBOXER => Ok(()),
        "" => Err(status(Error::Invalid("sandbox controller name can not be empty".into()))),
        other => Err(status(Error::NoSandboxer(other.to_owned()))),
    }
}

/// A sandbox whose record is not given along.
fn unrecorded(id: String) -> Sandbox {
    Sandbox {
        id,
        runtime: Runtime::default(),
        spec: None,
        labels: berth_ids::Labels::new(),
        extensions: std::collections::BTreeMap::new(),
        sandboxer: SANDBOXER.to_owned(),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}

fn endpoint(shim: Option<Bootstrap>) -> (String, u32) {
    shim.map(|shim| (shim.endpoint(), shim.version)).unwrap_or_default()
}
