//! `berth tag`

use anyhow::Result;
use berth_proto::containerd::services::images::v1::{
    CreateImageRequest, Image, UpdateImageRequest,
};
use serde_json::json;
use tonic::Code;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{image, output, reference};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image.
    image: String,
    /// Its further name.
    target: String,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let name = reference::normalise(&args.target)?;
    let client = Client::connect(global).await?;
    let of = image::get(&client, &args.image).await?;
    let digest = of.target.as_ref().map(|target| target.digest.clone());
    let image =
        Image { name: name.clone(), labels: of.labels, target: of.target, ..Default::default() };
    let request = CreateImageRequest { image: Some(image.clone()), ..Default::default() };
    let doing = || format!("name image {} {name}", of.name);
    match client.images().create(client.request(request)).await {
        Err(status) if status.code() == Code::AlreadyExists => {
            // A name that is taken moves, as people expect of a tag.
            let mask = prost_types::FieldMask { paths: vec!["target".into(), "labels".into()] };
            let request = UpdateImageRequest {
                image: Some(image),
                update_mask: Some(mask),
                ..Default::default()
            };
            client.images().update(client.request(request)).await.step(doing)?;
        }
        outcome => {
            outcome.step(doing)?;
        }
    }
    output::told(global.json, &name, &json!({ "name": name, "digest": digest }))
}
