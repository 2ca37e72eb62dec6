//! `berth cri inspectp`, `inspecti` and `inspect`: always JSON.

use anyhow::{Context, Result};
use berth_proto::runtime::v1 as wire;
use serde_json::json;

use crate::client::{Client, Step};
use crate::cri::{self, write};
use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its number, or the first digits; of an image also its name.
    id: String,
}

/// Shows a pod.
pub async fn pod(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let (_, answer) = cri::pod(&client, &args.id, true).await?;
    let mut shown = write::json(&answer);
    shown["info"] = write::info(&answer.info);
    output::json(&shown)
}

/// Shows a container.
pub async fn container(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let (_, answer) = cri::container(&client, &args.id, true).await?;
    let mut shown = write::json(&answer);
    shown["info"] = write::info(&answer.info);
    output::json(&shown)
}

/// Shows an image.
pub async fn image(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let answer = image_status(&client, &args.id, true).await?;
    let image = answer.image.with_context(|| format!("image {:?}: not found", args.id))?;
    output::json(&json!({ "status": write::json(&image), "info": write::info(&answer.info) }))
}

/// How an image is, if it is there.
pub async fn image_status(
    client: &Client,
    name: &str,
    verbose: bool,
) -> Result<wire::ImageStatusResponse> {
    let request = wire::ImageStatusRequest { image: Some(cri::image_spec(name)), verbose };
    let answer = client.cri_images().image_status(client.request(request)).await;
    Ok(answer.step(|| format!("look at image {name}"))?.into_inner())
}
