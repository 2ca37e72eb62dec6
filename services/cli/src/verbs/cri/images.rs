//! `berth cri images`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::cri::{self, shown, write};
use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print whole numbers only.
    #[arg(short, long)]
    quiet: bool,
    /// Do not cut numbers short.
    #[arg(long)]
    no_trunc: bool,
    /// Show this image only.
    image: Option<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let image = args.image.as_deref().map(cri::image_spec);
    let request = wire::ListImagesRequest { filter: Some(wire::ImageFilter { image }) };
    let answer = client.cri_images().list_images(client.request(request)).await;
    let mut images = answer.step(|| "list images".to_owned())?.into_inner().images;
    images.sort_by(|one, other| (&one.repo_tags, &one.id).cmp(&(&other.repo_tags, &other.id)));
    if args.quiet {
        let ids: Vec<_> = images.iter().map(|image| image.id.as_str()).collect();
        return output::names(global.json, &ids);
    }
    if global.json {
        return output::json(&images.iter().map(write::json).collect::<Vec<_>>());
    }
    let rows: Vec<_> = images.iter().flat_map(|image| as_rows(image, args.no_trunc)).collect();
    output::table(["IMAGE", "TAG", "IMAGE ID", "SIZE"], &rows)
}

/// One for each tag; one for an image that has none.
fn as_rows(image: &wire::Image, whole: bool) -> Vec<[String; 4]> {
    let row = |(name, tag): (&str, &str)| {
        let id = shown::image_id(&image.id, whole);
        [name.to_owned(), tag.to_owned(), id, output::size(image.size)]
    };
    if !image.repo_tags.is_empty() {
        return image.repo_tags.iter().map(|name| row(shown::tagged(name))).collect();
    }
    let name = image.repo_digests.first().and_then(|name| name.split('@').next());
    vec![row((name.unwrap_or("<none>"), "<none>"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tag_is_a_row() {
        let mut image = wire::Image {
            id: "sha256:0123456789abcdef".into(),
            size: 1536,
            repo_tags: vec!["docker.io/library/a:1".into(), "docker.io/library/a:2".into()],
            repo_digests: vec!["docker.io/library/a@sha256:77".into()],
            ..Default::default()
        };
        let row = |tag| ["docker.io/library/a", tag, "0123456789abc", "1.5 KiB"].map(str::to_owned);
        assert_eq!(as_rows(&image, false), [row("1"), row("2")]);
        image.repo_tags.clear();
        assert_eq!(as_rows(&image, false), [row("<none>")]);
        image.repo_digests.clear();
        assert_eq!(as_rows(&image, true)[0][..3], ["<none>", "<none>", "sha256:0123456789abcdef"]);
    }
}
