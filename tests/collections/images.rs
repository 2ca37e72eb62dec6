//! Images: those that last, and those whose time is over.

use std::collections::BTreeSet;

use anyhow::Result;
use berth_grpc::Channel;
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::types::Descriptor;
use images::images_client::ImagesClient;

use crate::client::{Answer, Client, Labels, Listed, ask, make, there, wire};
use crate::model::Thing;

const EXPIRE: &str = "containerd.io/gc.expire";

impl Client {
    /// The names of the images that live until they are deleted.
    pub async fn images(&self) -> Result<BTreeSet<String>> {
        ask("list images", async || {
            let lasting = self.named().await?.into_iter().filter(|image| !is_expired(image));
            Ok(lasting.map(|image| image.name).collect())
        })
        .await
    }

    /// Those that go unless something refers to them.
    pub async fn expired(&self) -> Answer<Vec<Listed>> {
        let expired = self.named().await?.into_iter().filter(is_expired);
        Ok(expired.map(Listed::image).collect())
    }

    async fn named(&self) -> Answer<Vec<images::Image>> {
        let request = self.on(images::ListImagesRequest::default());
        Ok(self.image_store().list(request).await?.into_inner().images)
    }

    /// Records an image that names a manifest.
    pub async fn create_image(&self, name: &str, manifest: &str) -> Result<()> {
        make("create image", async || {
            let image = Some(image(name, manifest, &Labels::new()));
            let request = images::CreateImageRequest { image, ..Default::default() };
            self.image_store().create(self.on(request)).await
        })
        .await
    }

    /// Records under a lease an image whose time is over.
    pub async fn create_expired(&self, lease: &str, name: &str, manifest: &str) -> Result<()> {
        let labels = Labels::from([(EXPIRE.to_owned(), "2020-01-01T00:00:00Z".to_owned())]);
        make("create image that is expired", async || {
            let image = Some(image(name, manifest, &labels));
            let request = images::CreateImageRequest { image, ..Default::default() };
            self.image_store().create(self.under(lease, request)?).await
        })
        .await
    }

    pub async fn delete_image(&self, name: &str, sync: bool) -> Result<()> {
        there("delete image", async || {
            let request = images::DeleteImageRequest { name: name.to_owned(), sync, target: None };
            self.image_store().delete(self.on(request)).await
        })
        .await
        .map(drop)
    }

    fn image_store(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone())
    }
}

impl Listed {
    fn image(image: images::Image) -> Self {
        let (thing, labels) = (Thing::Image(image.name), image.labels.into_iter().collect());
        Self { thing, parent: String::new(), labels, committed: false }
    }
}

fn is_expired(image: &images::Image) -> bool {
    image.labels.contains_key(EXPIRE)
}

fn image(name: &str, manifest: &str, labels: &Labels) -> images::Image {
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: manifest.to_owned(),
        size: 1,
        ..Default::default()
    };
    let (name, labels) = (name.to_owned(), wire(labels));
    images::Image { name, labels, target: Some(target), ..Default::default() }
}
