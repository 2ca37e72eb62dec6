//! A node that serves kubelets, and a client of it.

use std::time::Duration;

use berth_grpc::{Channel, channel};
use berth_proto::runtime::v1 as wire;
use berth_testkit::{Image, Layer, Node, Recipe};
use serde_json::Value;
use tonic::{Request, Status};
use wire::image_service_client::ImageServiceClient;

/// How long any call of a test may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The node.
pub struct Cri {
    pub node: Node,
    channel: Channel,
}

impl Cri {
    /// With these keys of `[cri]` too.
    pub fn start(keys: &str) -> Self {
        let node = Node::start_with(&format!("[cri]\nenabled = true\n{keys}")).unwrap();
        let channel = channel(&node.address());
        Self { node, channel }
    }

    pub fn client(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    pub async fn pull(&self, image: &str) -> Result<String, Status> {
        self.pull_as(image, None).await
    }

    pub async fn pull_as(
        &self,
        image: &str,
        auth: Option<wire::AuthConfig>,
    ) -> Result<String, Status> {
        let request = wire::PullImageRequest { image: spec(image), auth, sandbox_config: None };
        Ok(self.client().pull_image(timed(request)).await?.into_inner().image_ref)
    }

    /// All, or those of a filter.
    pub async fn list(&self, meant: Option<&str>) -> Result<Vec<wire::Image>, Status> {
        let filter = meant.map(|image| wire::ImageFilter { image: spec(image) });
        let request = wire::ListImagesRequest { filter };
        Ok(self.client().list_images(timed(request)).await?.into_inner().images)
    }

    pub async fn status(&self, image: &str) -> Result<Option<wire::Image>, Status> {
        let request = wire::ImageStatusRequest { image: spec(image), verbose: false };
        let answer = self.client().image_status(timed(request)).await?.into_inner();
        assert!(answer.info.is_empty(), "nobody asked for it");
        Ok(answer.image)
    }

    pub async fn remove(&self, image: &str) -> Result<(), Status> {
        let request = wire::RemoveImageRequest { image: spec(image) };
        self.client().remove_image(timed(request)).await.map(drop)
    }

    /// Names of image records, as ctr sees them, in order.
    pub fn names(&self) -> Vec<String> {
        let told = self.node.ctr("-n k8s.io images ls -q").output().unwrap().ok().unwrap();
        let mut names: Vec<_> = told.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

pub fn spec(image: &str) -> Option<wire::ImageSpec> {
    Some(wire::ImageSpec { image: image.to_owned(), ..Default::default() })
}

pub fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

/// An image of one file of this size, which nothing makes smaller, and this `config` part.
pub fn image(size: usize, seed: u64, config: Value) -> Image {
    Image::build_as(&Recipe::default(), vec![Layer::noise("noise", size, seed).unwrap()], config)
        .unwrap()
}

/// The digest of the config of an image that has one layer alone, and the bytes of all three.
pub fn config_and_size(image: &Image) -> (String, u64) {
    let read = |digest: &str| {
        let path = image.layout().join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        fs_err::read(path).unwrap()
    };
    let manifest = read(&image.digest);
    let parsed: Value = serde_json::from_slice(&manifest).unwrap();
    let config = parsed["config"]["digest"].as_str().unwrap().to_owned();
    let layers: usize = image.layer_sizes.iter().sum();
    let size = manifest.len() + read(&config).len() + layers;
    (config, size as u64)
}

/// The repository of a reference.
pub fn repository(reference: &str) -> &str {
    reference.rsplit_once(':').unwrap().0
}
