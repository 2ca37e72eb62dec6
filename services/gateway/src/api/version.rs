//! containerd.services.version.v1.Version

use berth_proto::containerd::services::version::v1::{VersionResponse, version_server};
use tonic::{Request, Response, Status};

/// The version of containerd whose interface is served: clients decide by it what they can ask.
const INTERFACE: &str = "v2.3.4";

/// Which software answers.
pub struct Version;

#[tonic::async_trait]
impl version_server::Version for Version {
    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>, Status> {
        let revision = concat!("berth-", env!("CARGO_PKG_VERSION"));
        Ok(Response::new(VersionResponse { version: INTERFACE.into(), revision: revision.into() }))
    }
}
