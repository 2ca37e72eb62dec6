//! `berth push`

use anyhow::{Context, Result};
use serde_json::json;

use crate::client::Client;
use crate::global::Global;
use crate::manifest::Platform;
use crate::progress::Show;
use crate::transfer::{self, RegistryFlags};
use crate::{image, output, reference};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image to send.
    image: String,
    /// The name to send it under; its own by default.
    target: Option<String>,
    #[command(flatten)]
    registry: RegistryFlags,
    /// Send only this platform of it: OS/ARCH[/VARIANT].
    #[arg(long)]
    platform: Option<String>,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let platform = args.platform.as_deref().map(Platform::parse).transpose()?;
    let platforms = platform.iter().map(Into::into).collect();
    let target = args.target.as_deref().map(reference::normalise).transpose()?;
    let client = Client::connect(global).await?;
    let image = image::get(&client, &args.image).await?;
    let target = target.unwrap_or_else(|| image.name.clone());
    let show = Show::new(args.quiet);
    transfer::push(&client, &image.name, &target, &args.registry, platforms, show).await?;
    // Of an image for several platforms the registry has the one that was asked for.
    let digest = match &platform {
        Some(platform) => image::resolve(&client, &image, platform).await?.manifest,
        None => image.target.context("the image is empty")?.digest,
    };
    if global.json {
        output::json(&json!({ "name": target, "digest": digest }))
    } else {
        output::line(format!("{target}@{digest}"))
    }
}
