//! `berth images`

use anyhow::Result;
use berth_proto::containerd::services::images::v1::Image;
use serde_json::{Value, json};

use crate::client::Client;
use crate::global::Global;
use crate::manifest::Platform;
use crate::{image, output, reference};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print whole names only.
    #[arg(short, long)]
    quiet: bool,
    /// Print whole names and digests.
    #[arg(long)]
    no_trunc: bool,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let mut images = image::list(&client, Vec::new()).await?;
    images.sort_by(|one, other| one.name.cmp(&other.name));
    if args.quiet {
        let names: Vec<_> = images.iter().map(|image| image.name.as_str()).collect();
        return output::names(global.json, &names);
    }
    let mut sizes = Vec::with_capacity(images.len());
    for image in &images {
        sizes.push(size(&client, image).await);
    }
    if global.json {
        let list: Vec<Value> = images.iter().zip(sizes).map(|(i, s)| as_json(i, s)).collect();
        return output::json(&list);
    }
    let rows: Vec<_> = images
        .iter()
        .zip(sizes)
        .map(|(image, size)| {
            let digest = image.target.as_ref().map(|of| of.digest.as_str()).unwrap_or_default();
            let name = reference::familiar(&image.name);
            [
                if args.no_trunc { image.name.clone() } else { name.to_owned() },
                if args.no_trunc { digest.to_owned() } else { output::short(digest) },
                size.map_or("-".to_owned(), output::size),
                output::age(image.created_at.as_ref()),
            ]
        })
        .collect();
    output::table(["IMAGE", "DIGEST", "SIZE", "CREATED"], &rows)
}

/// Bytes of what is here for this machine; none for an image that is for others only.
async fn size(client: &Client, image: &Image) -> Option<u64> {
    image::resolve(client, image, &Platform::host()).await.ok().map(|of| of.size)
}

fn as_json(image: &Image, size: Option<u64>) -> Value {
    let target = image.target.clone().unwrap_or_default();
    json!({
        "name": image.name,
        "digest": target.digest,
        "media_type": target.media_type,
        "size": size,
        "labels": image.labels,
        "created_at": output::moment(image.created_at.as_ref()),
        "updated_at": output::moment(image.updated_at.as_ref()),
    })
}
