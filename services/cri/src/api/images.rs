//! runtime.v1.ImageService.

use berth_grpc::status;
use berth_proto::runtime::v1 as wire;
use tonic::{Request, Response, Status};

use super::redact::redact;
use super::{Answer, Domain, Listed, in_parts};
use crate::images::credentials::Credentials;
use crate::images::user::User;
use crate::images::{Image, Pull};
use crate::{Error, Result};

/// The annotation of pods with the handler that an image is pulled for, as kubelets said it before requests did.
const HANDLER: &str = "io.containerd.cri.runtime-handler";

/// Serves images.
pub(super) struct Service(pub(super) Domain);

impl Service {
    async fn list(&self, filter: Option<wire::ImageFilter>) -> Result<Vec<wire::Image>, Status> {
        let meant = filter.and_then(|filter| filter.image).map(|spec| spec.image);
        let meant = meant.filter(|name| !name.is_empty());
        let images = self.0.images.list(meant.as_deref()).await.map_err(told)?;
        Ok(images.into_iter().map(to_wire).collect())
    }
}

#[tonic::async_trait]
impl wire::image_service_server::ImageService for Service {
    async fn list_images(
        &self,
        request: Request<wire::ListImagesRequest>,
    ) -> Answer<wire::ListImagesResponse> {
        let images = self.list(request.into_inner().filter).await?;
        Ok(Response::new(wire::ListImagesResponse { images }))
    }

    type StreamImagesStream = Listed<wire::StreamImagesResponse>;

    async fn stream_images(
        &self,
        request: Request<wire::StreamImagesRequest>,
    ) -> Answer<Self::StreamImagesStream> {
        let images = self.list(request.into_inner().filter).await?;
        Ok(in_parts(images, |images| wire::StreamImagesResponse { images }))
    }

    async fn image_status(
        &self,
        request: Request<wire::ImageStatusRequest>,
    ) -> Answer<wire::ImageStatusResponse> {
        let wire::ImageStatusRequest { image, verbose } = request.into_inner();
        let name = image.unwrap_or_default().image;
        let found = self.0.images.status(&name, verbose).await.map_err(told)?;
        let Some((image, details)) = found else {
            return Ok(Response::new(wire::ImageStatusResponse::default()));
        };
        let info = details.map(|details| ("info".to_owned(), details.to_string()));
        Ok(Response::new(wire::ImageStatusResponse {
            image: Some(to_wire(image)),
            info: info.into_iter().collect(),
        }))
    }

    async fn pull_image(
        &self,
        request: Request<wire::PullImageRequest>,
    ) -> Answer<wire::PullImageResponse> {
        let wire::PullImageRequest { image, auth, sandbox_config } = request.into_inner();
        let credentials = credentials(auth.unwrap_or_default());
        let wire::ImageSpec { image, runtime_handler: handler, .. } = image.unwrap_or_default();
        let of_pod = sandbox_config.unwrap_or_default().annotations.remove(HANDLER);
        let handler = if handler.is_empty() { of_pod.unwrap_or_default() } else { handler };
        let want = Pull { image, credentials, handler };
        let image_ref = self.0.images.pull(want).await.map_err(told)?;
        Ok(Response::new(wire::PullImageResponse { image_ref }))
    }

    async fn remove_image(
        &self,
        request: Request<wire::RemoveImageRequest>,
    ) -> Answer<wire::RemoveImageResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        self.0.images.remove(&name).await.map_err(told)?;
        Ok(Response::new(wire::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<wire::ImageFsInfoRequest>,
    ) -> Answer<wire::ImageFsInfoResponse> {
        let usages = self.0.images.usage().await.map_err(told)?;
        let snapshots = usages.into_iter().map(|usage| {
            let mountpoint = usage.folder.display().to_string();
            wire::FilesystemUsage {
                timestamp: crate::time::nanoseconds(usage.at),
                fs_id: Some(wire::FilesystemIdentifier { mountpoint }),
                used_bytes: Some(wire::UInt64Value { value: usage.used.bytes }),
                inodes_used: Some(wire::UInt64Value { value: usage.used.inodes }),
            }
        });
        Ok(Response::new(wire::ImageFsInfoResponse {
            image_filesystems: snapshots.collect(),
            ..Default::default()
        }))
    }
}

/// What a caller sees of an error: no registry's secrets.
#[allow(clippy::needless_pass_by_value, reason = "map_err hands over the error")]
fn told(error: Error) -> Status {
    let status = status(&error);
    Status::new(status.code(), redact(status.message()))
}

fn to_wire(image: Image) -> wire::Image {
    let (uid, username) = match image.user {
        None => (None, String::new()),
        Some(User::Uid(value)) => (Some(wire::Int64Value { value }), String::new()),
        Some(User::Name(name)) => (None, name),
    };
    wire::Image {
        id: image.id,
        repo_tags: image.repo_tags,
        repo_digests: image.repo_digests,
        size: image.size,
        uid,
        username,
        spec: None,
        pinned: image.pinned,
    }
}

fn credentials(auth: wire::AuthConfig) -> Credentials {
    // registry_token is not looked at by containerd either.
    let wire::AuthConfig { username, password, auth, server_address, identity_token, .. } = auth;
    Credentials { server_address, username, password, identity_token, auth }
}
