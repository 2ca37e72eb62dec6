//! `berth cri pull`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;
use serde_json::json;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{cri, output, parse};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the registry is told of who asks.
    #[arg(long, value_name = "NAME:PASSWORD", value_parser = parse::credentials)]
    creds: Option<(String, String)>,
    /// The image: NAME[:TAG][@DIGEST], on Docker's registry unless it names another.
    image: String,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let auth = args.creds.map(|(username, password)| wire::AuthConfig {
        username,
        password,
        ..Default::default()
    });
    let image_ref = pull(&client, &args.image, auth, None).await?;
    output::told(global.json, &image_ref, &json!({ "image_ref": image_ref }))
}

/// Has an image pulled, for a pod if there is one; answers its number.
pub async fn pull(
    client: &Client,
    image: &str,
    auth: Option<wire::AuthConfig>,
    sandbox_config: Option<wire::PodSandboxConfig>,
) -> Result<String> {
    let image_spec = Some(cri::image_spec(image));
    let request = wire::PullImageRequest { image: image_spec, auth, sandbox_config };
    let answer = client.cri_images().pull_image(client.patient(request)).await;
    Ok(answer.step(|| format!("pull image {image}"))?.into_inner().image_ref)
}
