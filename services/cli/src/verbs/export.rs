//! `berth export`

use std::path::PathBuf;

use anyhow::Result;
use berth_proto::containerd::types::transfer as wire;
use serde_json::json;

use crate::client::Client;
use crate::global::Global;
use crate::manifest::Platform;
use crate::{archive, image, output, transfer};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write all platforms that are here.
    #[arg(long)]
    all_platforms: bool,
    /// Write this platform instead of this machine's: OS/ARCH[/VARIANT].
    #[arg(long, conflicts_with = "all_platforms")]
    platform: Option<String>,
    /// The tar archive; - is standard output.
    archive: PathBuf,
    /// The images.
    #[arg(required = true)]
    images: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let platform = args.platform.as_deref().map_or(Ok(Platform::host()), Platform::parse)?;
    let client = Client::connect(global).await?;
    let mut names = Vec::new();
    for typed in &args.images {
        names.push(image::get(&client, typed).await?.name);
    }
    let reference = |name| wire::ImageReference { name, ..Default::default() };
    let told = json!({ "archive": args.archive.to_string_lossy(), "images": names });
    let mut source = wire::ImageStore::default();
    if names.len() == 1 {
        source.name = names.remove(0);
    } else {
        source.extra_references = names.into_iter().map(reference).collect();
    }
    let platforms = if args.all_platforms { Vec::new() } else { vec![(&platform).into()] };
    transfer::export(&client, &args.archive, &source, platforms, args.all_platforms).await?;
    // Standard output may be the archive.
    if global.json && !archive::is_standard(&args.archive) { output::json(&told) } else { Ok(()) }
}
