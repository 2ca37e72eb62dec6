//! `berth cri pull`

use anyhow::{Context, Result};
use berth_proto::runtime::v1 as wire;
use serde_json::json;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{cri, output};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the registry is told of who asks.
    #[arg(long, value_name = "NAME:PASSWORD")]
    creds: Option<String>,
    /// The image: NAME[:TAG][@DIGEST], on Docker's registry unless it names another.
    image: String,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let auth = args.creds.as_deref().map(credentials).transpose()?;
    let client = Client::connect(global).await?;
    let image_ref = pull(&client, &args.image, auth, None).await?;
    output::told(global.json, &image_ref, &json!({ "image_ref": image_ref }))
}

/// What was typed is shown to nobody else, not even where it is wrong.
fn credentials(given: &str) -> Result<wire::AuthConfig> {
    let (username, password) = given.split_once(':').context("--creds takes NAME:PASSWORD")?;
    let (username, password) = (username.to_owned(), password.to_owned());
    Ok(wire::AuthConfig { username, password, ..Default::default() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_have_colons_and_is_not_told() {
        let read = credentials("me:pass:word").unwrap();
        assert_eq!((read.username.as_str(), read.password.as_str()), ("me", "pass:word"));
        assert_eq!(credentials("secret").unwrap_err().to_string(), "--creds takes NAME:PASSWORD");
    }
}
