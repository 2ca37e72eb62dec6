//! `berth import`

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use berth_proto::containerd::types::transfer as wire;
use serde_json::json;

use crate::client::Client;
use crate::global::Global;
use crate::manifest::Platform;
use crate::{image, output, transfer, unpack};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tar archive, OCI's or Docker's; - is standard input.
    archive: PathBuf,
    /// The name of images that the archive does not name: NAME, to which tag or digest are added.
    #[arg(long)]
    base_name: Option<String>,
    /// Only read in, do not unpack.
    #[arg(long)]
    no_unpack: bool,
    /// Keep all platforms, not only this machine's.
    #[arg(long)]
    all_platforms: bool,
    /// Keep this platform instead of this machine's: OS/ARCH[/VARIANT].
    #[arg(long, conflicts_with = "all_platforms")]
    platform: Option<String>,
    /// The snapshotter to unpack to.
    #[arg(long)]
    snapshotter: Option<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let platform = args.platform.as_deref().map_or(Ok(Platform::host()), Platform::parse)?;
    let client = Client::connect(global).await?;
    let mut store = wire::ImageStore::default();
    if !args.all_platforms {
        store.platforms = vec![(&platform).into()];
    }
    if !args.no_unpack {
        let snapshotter = unpack::snapshotter(&client, args.snapshotter.as_deref()).await?;
        store.unpacks =
            vec![wire::UnpackConfiguration { platform: Some((&platform).into()), snapshotter }];
    }
    store.extra_references = vec![wire::ImageReference {
        name: args.base_name.clone().unwrap_or_else(|| "import".to_owned()),
        is_prefix: true,
        allow_overwrite: true,
        add_digest: true,
        skip_named_digest: true,
    }];
    let before = stamps(&client).await?;
    transfer::import(&client, &args.archive, &store).await?;
    let mut names: Vec<_> = stamps(&client).await?.into_iter().collect();
    names.retain(|(name, stamp)| before.get(name) != Some(stamp));
    names.sort();
    let names: Vec<_> = names.into_iter().map(|(name, _)| name).collect();
    if global.json {
        return output::json(&json!({ "images": names }));
    }
    names.iter().try_for_each(output::line)
}

/// When each image was last changed.
async fn stamps(client: &Client) -> Result<HashMap<String, String>> {
    let images = image::list(client, Vec::new()).await?;
    let stamp = |image: &berth_proto::containerd::services::images::v1::Image| {
        output::moment(image.updated_at.as_ref())
    };
    Ok(images.into_iter().map(|image| (image.name.clone(), stamp(&image))).collect())
}
