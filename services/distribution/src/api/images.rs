//! containerd's Images service.

use berth_grpc::{namespace, status, time};
use berth_proto::containerd::services::images::v1 as wire;
use berth_proto::containerd::types;
use tonic::{Request, Response, Status};

use super::wire::{Answer, change, filter, labels, mask, required, scope, size, stamp};
use super::wire::{to_labels, to_size};
use crate::images::{Change, Images};
use crate::records::{Descriptor, Image};
use crate::shared::clean_labels;

pub struct Service(pub Images);

#[tonic::async_trait]
impl wire::images_server::Images for Service {
    async fn get(&self, request: Request<wire::GetImageRequest>) -> Answer<wire::GetImageResponse> {
        let namespace = namespace(&request)?;
        let name = request.into_inner().name;
        let image = self.0.get(&namespace, &name).map_err(status)?;
        Ok(Response::new(wire::GetImageResponse { image: Some(to_wire(name, image)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListImagesRequest>,
    ) -> Answer<wire::ListImagesResponse> {
        let namespace = namespace(&request)?;
        let filter = filter(&request.get_ref().filters)?;
        let found = self.0.list(&namespace, filter).await.map_err(status)?;
        let images = found.into_iter().map(|named| to_wire(named.name, named.image)).collect();
        Ok(Response::new(wire::ListImagesResponse { images }))
    }

    async fn create(
        &self,
        request: Request<wire::CreateImageRequest>,
    ) -> Answer<wire::CreateImageResponse> {
        let scope = scope(&request);
        let wire::CreateImageRequest { image, source_date_epoch } = request.into_inner();
        let image = named(image)?;
        let scope = scope?;
        let labels = clean_labels("image", labels(image.labels)).map_err(status)?;
        let target = descriptor(image.target)?;
        let at = time::from_wire(source_date_epoch.as_ref());
        let made = self.0.create(&scope, &image.name, target, labels, at);
        let made = made.await.map_err(status)?;
        Ok(Response::new(wire::CreateImageResponse { image: Some(to_wire(image.name, made)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateImageRequest>,
    ) -> Answer<wire::UpdateImageResponse> {
        let scope = scope(&request);
        let wire::UpdateImageRequest { image, update_mask, source_date_epoch } =
            request.into_inner();
        let image = named(image)?;
        let scope = scope?;
        // Whether the image is there is said before what is wrong with the change.
        self.0.get(&scope.namespace, &image.name).map_err(status)?;
        let object = || format!("image {:?}", image.name);
        let maps = ["labels", "annotations"];
        let mask = mask(update_mask, &["target", "labels", "annotations"], &maps, object)?;
        let annotations = image.target.as_ref().map(|target| target.annotations.clone());
        let relabelled = change(&mask, "labels", labels(image.labels));
        clean_labels("image", relabelled.new_labels()).map_err(status)?;
        let target = if mask.has("target") { Some(descriptor(image.target)?) } else { None };
        let annotated = change(&mask, "annotations", labels(annotations.unwrap_or_default()));
        let change = Change { target, labels: relabelled, annotations: annotated };
        let at = time::from_wire(source_date_epoch.as_ref());
        let made = self.0.update(&scope, &image.name, change, at).await.map_err(status)?;
        Ok(Response::new(wire::UpdateImageResponse { image: Some(to_wire(image.name, made)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteImageRequest>) -> Answer<()> {
        let scope = scope(&request)?;
        let wire::DeleteImageRequest { name, sync, target } = request.into_inner();
        let digest = target.map(|target| target.digest).filter(|digest| !digest.is_empty());
        self.0.delete(&scope, &name, digest, sync).await.map_err(status)?;
        Ok(Response::new(()))
    }
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn named(image: Option<wire::Image>) -> Result<wire::Image, Status> {
    let image = image.ok_or_else(required("image must be set"))?;
    if image.name.is_empty() {
        return Err(Status::invalid_argument("Image.Name required"));
    }
    Ok(image)
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn descriptor(wire: Option<types::Descriptor>) -> Result<Descriptor, Status> {
    let wire = wire.unwrap_or_default();
    let types::Descriptor { media_type, digest, size: bytes, annotations } = wire;
    Descriptor::new(media_type, digest, size(bytes), labels(annotations)).map_err(status)
}

fn to_wire(name: String, image: Image) -> wire::Image {
    let target = types::Descriptor {
        media_type: image.target.media_type,
        digest: image.target.digest.to_string(),
        size: to_size(image.target.size),
        annotations: to_labels(image.target.annotations),
    };
    wire::Image {
        name,
        labels: to_labels(image.labels),
        target: Some(target),
        created_at: stamp(image.created),
        updated_at: stamp(image.updated),
    }
}
