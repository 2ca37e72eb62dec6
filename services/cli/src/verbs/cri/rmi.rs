//! `berth cri rmi`

use anyhow::{Result, bail};
use berth_proto::runtime::v1 as wire;
use serde_json::json;

use super::inspect::image_status;
use crate::client::{Client, Step};
use crate::global::Global;
use crate::{cri, output, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The images, by their names or numbers.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.images, async |name| {
        // The runtime finds nothing wrong with one that is not there.
        if image_status(&client, name, false).await?.image.is_none() {
            bail!("image {name:?}: not found");
        }
        let request = wire::RemoveImageRequest { image: Some(cri::image_spec(name)) };
        let answer = client.cri_images().remove_image(client.request(request)).await;
        answer.step(|| format!("remove image {name}"))?;
        output::told(global.json, name, &json!({ "name": name }))
    })
    .await
}
