//! `berth rmi`

use anyhow::{Result, bail};
use serde_json::json;

use crate::client::Client;
use crate::global::Global;
use crate::{container, image, output, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove what containers were made of too; they go on.
    #[arg(short, long)]
    force: bool,
    /// Wait until the space is free.
    #[arg(long)]
    sync: bool,
    /// The images.
    #[arg(required = true)]
    images: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.images, async |typed| {
        let image = image::get(&client, typed).await?;
        if !args.force {
            refuse_used(&client, &image.name).await?;
        }
        image::delete(&client, &image.name, args.sync).await?;
        output::told(global.json, &image.name, &json!({ "name": image.name }))
    })
    .await
}

async fn refuse_used(client: &Client, image: &str) -> Result<()> {
    let mut user = None;
    let filter = format!("image=={image:?}");
    container::list(client, vec![filter], |container| user = Some(container.id)).await?;
    match user {
        Some(user) => bail!("image {image} is used by container {user}, remove that or give -f"),
        None => Ok(()),
    }
}
