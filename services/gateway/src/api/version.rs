//! containerd.services.version.v1.Version

use berth_proto::containerd::services::version::v1::{VersionResponse, version_server};
use tonic::{Request, Response, Status};

/// The version of containerd whose interface is served: clients decide by it what they can ask.
pub(crate) const INTERFACE: &str = "v2.3.4";

/// What that is of.
pub(crate) const REVISION: &str = concat!("berth-", env!("CARGO_PKG_VERSION"));

/// Which software answers.
pub struct Version;

#[tonic::async_trait]
impl version_server::Version for Version {
    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>, Status> {
        let (version, revision) = (INTERFACE.into(), REVISION.into());
        Ok(Response::new(VersionResponse { version, revision }))
    }
}
