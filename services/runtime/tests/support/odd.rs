//! A sandbox controller that only tells where shims are, and tells that wrongly.

use berth_proto::containerd::services::sandbox::v1 as wire;
use tonic::{Request, Response, Status};
use wire::controller_server::{Controller, ControllerServer};

/// One that says that every sandbox is ready, at this address.
pub fn controller(address: &str) -> ControllerServer<impl Controller> {
    ControllerServer::new(Odd(address.to_owned()))
}

struct Odd(String);

type Answer<T> = Result<Response<T>, Status>;

fn nothing<T>() -> Answer<T> {
    Err(Status::unimplemented("it does nothing"))
}

#[tonic::async_trait]
impl Controller for Odd {
    async fn status(
        &self,
        request: Request<wire::ControllerStatusRequest>,
    ) -> Answer<wire::ControllerStatusResponse> {
        let wire::ControllerStatusRequest { sandbox_id, .. } = request.into_inner();
        let (address, state) = (self.0.clone(), "SANDBOX_READY".to_owned());
        let known = wire::ControllerStatusResponse {
            sandbox_id,
            state,
            address,
            version: 3,
            ..Default::default()
        };
        Ok(Response::new(known))
    }

    async fn create(
        &self,
        _: Request<wire::ControllerCreateRequest>,
    ) -> Answer<wire::ControllerCreateResponse> {
        nothing()
    }

    async fn start(
        &self,
        _: Request<wire::ControllerStartRequest>,
    ) -> Answer<wire::ControllerStartResponse> {
        nothing()
    }

    async fn platform(
        &self,
        _: Request<wire::ControllerPlatformRequest>,
    ) -> Answer<wire::ControllerPlatformResponse> {
        nothing()
    }

    async fn stop(
        &self,
        _: Request<wire::ControllerStopRequest>,
    ) -> Answer<wire::ControllerStopResponse> {
        nothing()
    }

    async fn wait(
        &self,
        _: Request<wire::ControllerWaitRequest>,
    ) -> Answer<wire::ControllerWaitResponse> {
        nothing()
    }

    async fn shutdown(
        &self,
        _: Request<wire::ControllerShutdownRequest>,
    ) -> Answer<wire::ControllerShutdownResponse> {
        nothing()
    }

    async fn metrics(
        &self,
        _: Request<wire::ControllerMetricsRequest>,
    ) -> Answer<wire::ControllerMetricsResponse> {
        nothing()
    }

    async fn update(
        &self,
        _: Request<wire::ControllerUpdateRequest>,
    ) -> Answer<wire::ControllerUpdateResponse> {
        nothing()
    }
}
