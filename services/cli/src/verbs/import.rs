//! `berth import`

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use berth_proto::containerd::services::images::v1::Image;
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
    /// Let the packed layers go once they are unpacked: a push or an export has to fetch them again.
    #[arg(long, conflicts_with = "no_unpack")]
    discard_unpacked_layers: bool,
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
    let base = args.base_name.unwrap_or_else(|| "import".to_owned());
    store.extra_references = vec![wire::ImageReference {
        name: base.clone(),
        is_prefix: true,
        allow_overwrite: true,
        add_digest: true,
        skip_named_digest: true,
    }];
    let images = image::list(&client, Vec::new()).await?;
    let before: HashMap<_, _> =
        images.into_iter().map(|image| (image.name, image.updated_at)).collect();
    transfer::import(&client, &args.archive, &store).await?;
    let mut made = image::list(&client, Vec::new()).await?;
    made.retain(|image| before.get(&image.name) != Some(&image.updated_at));
    forget_archives_index(&client, &base, &mut made).await?;
    if args.discard_unpacked_layers {
        for image in &made {
            image::release_layers(&client, image).await?;
        }
    }
    let mut names: Vec<_> = made.into_iter().map(|image| image.name).collect();
    names.sort();
    if global.json {
        return output::json(&json!({ "images": names }));
    }
    names.iter().try_for_each(output::line)
}

/// Takes the archive's own index off the images that were made.
///
/// Where digests are added to a base name it gets one too, as containerd has it. It is no image,
/// and would hold what the others have when these are gone. All others are listed in it.
async fn forget_archives_index(client: &Client, base: &str, made: &mut Vec<Image>) -> Result<()> {
    for at in 0..made.len() {
        if made[at].name != format!("{base}@{}", digest(&made[at])) {
            continue;
        }
        let listed = image::listed(client, &made[at]).await?;
        let mut others = made.iter().filter(|other| other.name != made[at].name).peekable();
        if others.peek().is_some() && others.all(|other| listed.contains(&digest(other))) {
            let index = made.remove(at);
            return image::delete(client, &index.name, false).await;
        }
    }
    Ok(())
}

fn digest(image: &Image) -> String {
    image.target.as_ref().map(|target| target.digest.clone()).unwrap_or_default()
}
