//! `berth pull`

use anyhow::Result;
use serde_json::json;

use crate::client::Client;
use crate::global::Global;
use crate::manifest::Platform;
use crate::progress::Show;
use crate::transfer::{self, RegistryFlags, Wanted};
use crate::{image, output, parse, reference, unpack};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image: NAME[:TAG][@DIGEST], on Docker's registry unless it names another.
    pub image: String,
    #[command(flatten)]
    registry: RegistryFlags,
    /// The platform to fetch: OS/ARCH[/VARIANT]; this machine's by default.
    #[arg(long)]
    platform: Option<String>,
    /// The snapshotter to unpack to.
    #[arg(long)]
    snapshotter: Option<String>,
    /// Only fetch, do not unpack.
    #[arg(long)]
    no_unpack: bool,
    /// A label of the image record.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse::label)]
    labels: Vec<(String, String)>,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let name = reference::normalise(&args.image)?;
    let platform = args.platform.as_deref().map_or(Ok(Platform::host()), Platform::parse)?;
    let client = Client::connect(global).await?;
    let unpack = if args.no_unpack {
        None
    } else {
        Some(unpack::snapshotter(&client, args.snapshotter.as_deref()).await?)
    };
    let wanted = Wanted { platforms: vec![(&platform).into()], unpack, labels: args.labels };
    transfer::pull(&client, &name, &args.registry, &wanted, Show::new(args.quiet)).await?;
    let image = image::get(&client, &name).await?;
    let digest = image.target.map(|target| target.digest).unwrap_or_default();
    if global.json {
        output::json(&json!({ "name": name, "digest": digest }))
    } else {
        output::line(format!("{name}@{digest}"))
    }
}
