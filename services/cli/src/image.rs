//! Image records and what they point at.

use anyhow::{Context, Result, bail};
use berth_ids::Digest;
use berth_proto::containerd::services::content::v1::{
    Info, InfoRequest, ReadContentRequest, UpdateRequest,
};
use berth_proto::containerd::services::images::v1::{
    DeleteImageRequest, GetImageRequest, Image, ListImagesRequest,
};
use berth_runtime_spec::ImageConfig;

use prost_types::FieldMask;

use crate::client::{Client, Step};
use crate::manifest::{self, Descriptor, Manifest, Platform};
use crate::reference;

/// What labels begin with that keep a manifest's layers.
const LAYERS: &str = "containerd.io/gc.ref.content.l.";
/// The most that a manifest or config may have.
const MAX_BLOB: i64 = 8 << 20;

/// An image for one platform.
#[derive(Debug)]
pub struct Resolved {
    /// The image's whole name.
    pub name: String,
    /// The manifest.
    pub manifest: String,
    /// The config's name.
    pub config: String,
    /// The config as it is.
    pub config_blob: Vec<u8>,
    /// How to run it.
    pub run: ImageConfig,
    /// The packed layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// What the layers contain.
    pub diff_ids: Vec<Digest>,
    /// The chain IDs of the layers.
    pub chain: Vec<Digest>,
    /// Bytes of manifest, config and layers.
    pub size: u64,
}

/// The image that was typed: by whole name, by short name, or by the start of its digest.
pub async fn find(client: &Client, typed: &str) -> Result<Option<Image>> {
    for name in [Some(typed.to_owned()), reference::normalise(typed).ok()].into_iter().flatten() {
        let request = client.request(GetImageRequest { name: name.clone() });
        let answer = client.images().get(request).await.optional();
        if let Some(answer) = answer.step(|| format!("look for image {name}"))? {
            return Ok(answer.into_inner().image);
        }
    }
    let hex = typed.strip_prefix("sha256:").unwrap_or(typed);
    if hex.len() < 4 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let digest = |image: &Image| image.target.as_ref().map(|of| of.digest.clone());
    let mut matching = list(client, vec![format!("target.digest~=/^sha256:{hex}/")]).await?;
    let first = matching.first().and_then(digest);
    if matching.iter().any(|image| digest(image) != first) {
        bail!("image {typed} is ambiguous, type more digits");
    }
    Ok(matching.pop())
}

/// The image that was typed; it is an error that it does not exist.
pub async fn get(client: &Client, typed: &str) -> Result<Image> {
    match find(client, typed).await? {
        Some(image) => Ok(image),
        None => bail!(
            "image {typed:?}: not found in namespace {}, fetch it with `berth pull {typed}`",
            client.namespace()
        ),
    }
}

/// The images of the namespace that one of the filters matches; all without filters.
pub async fn list(client: &Client, filters: Vec<String>) -> Result<Vec<Image>> {
    let request = client.request(ListImagesRequest { filters });
    let answer = client.images().list(request).await.step(|| "list images".to_owned())?;
    Ok(answer.into_inner().images)
}

/// Takes an image's name away; with `sync` what only it held is gone when this returns.
pub async fn delete(client: &Client, name: &str, sync: bool) -> Result<()> {
    let request = DeleteImageRequest { name: name.to_owned(), sync, target: None };
    let answer = client.images().delete(client.request(request)).await;
    answer.step(|| format!("delete image {name}")).map(|_| ())
}

/// The digests of what an index lists; none for other images.
pub async fn listed(client: &Client, image: &Image) -> Result<Vec<String>> {
    let Some(target) = image.target.as_ref().filter(|of| manifest::is_index(&of.media_type)) else {
        return Ok(Vec::new());
    };
    let index = parse(&target.digest, &read(client, &target.digest).await?)?;
    Ok(index.manifests.into_iter().map(|of| of.digest).collect())
}

/// Takes from the image's manifests the labels that keep their packed layers; what else refers to
/// these keeps them.
pub async fn release_layers(client: &Client, image: &Image) -> Result<()> {
    let target = image.target.as_ref().map(|of| of.digest.clone());
    for digest in target.into_iter().chain(listed(client, image).await?) {
        let step = || format!("let layers of {digest} go");
        let request = client.request(InfoRequest { digest: digest.clone() });
        // Manifests for other machines are not here.
        let Some(found) = client.content().info(request).await.optional().step(step)? else {
            continue;
        };
        let labels = found.into_inner().info.unwrap_or_default().labels;
        let layers = labels.into_keys().filter(|key| key.starts_with(LAYERS));
        let paths: Vec<_> = layers.map(|key| format!("labels.{key}")).collect();
        if paths.is_empty() {
            continue;
        }
        let info = Some(Info { digest: digest.clone(), ..Default::default() });
        let update = UpdateRequest { info, update_mask: Some(FieldMask { paths }) };
        client.content().update(client.request(update)).await.step(step)?;
    }
    Ok(())
}

/// Follows an image record to the manifest and config for `platform`.
pub async fn resolve(client: &Client, image: &Image, platform: &Platform) -> Result<Resolved> {
    let target = image.target.as_ref().with_context(|| format!("image {} is empty", image.name))?;
    let mut digest = target.digest.clone();
    let mut blob = read(client, &digest).await?;
    let mut parsed = parse(&digest, &blob)?;
    if parsed.config.is_none()
        && (manifest::is_index(&target.media_type) || !parsed.manifests.is_empty())
    {
        (digest, blob) = choose(client, &image.name, &parsed, platform).await?;
        parsed = parse(&digest, &blob)?;
    }
    let Some(config) = parsed.config else {
        bail!("manifest {digest} of image {} names no config, it is no image to run", image.name);
    };
    let config_blob = read(client, &config.digest).await?;
    let contents: manifest::Config = serde_json::from_slice(&config_blob)
        .with_context(|| format!("parse config {} of image {}", config.digest, image.name))?;
    let run = ImageConfig::parse(&config_blob)
        .with_context(|| format!("config {} of image {}", config.digest, image.name))?;
    let diff_ids = contents.rootfs.diff_ids;
    let sizes = parsed.layers.iter().map(|layer| layer.size).chain([config.size]);
    let size = sizes.filter_map(|size| u64::try_from(size).ok()).sum::<u64>() + blob.len() as u64;
    Ok(Resolved {
        name: image.name.clone(),
        manifest: digest,
        config: config.digest,
        config_blob,
        run,
        layers: parsed.layers,
        chain: manifest::chain_ids(&diff_ids)?,
        diff_ids,
        size,
    })
}

/// The best manifest of an index that is here.
async fn choose(
    client: &Client,
    name: &str,
    index: &Manifest,
    platform: &Platform,
) -> Result<(String, Vec<u8>)> {
    for candidate in manifest::candidates(index, platform) {
        if let Some(blob) = read_if_there(client, &candidate.digest).await? {
            return Ok((candidate.digest.clone(), blob));
        }
    }
    let Platform { os, architecture, .. } = platform;
    bail!(
        "image {name} has nothing here for {os}/{architecture}, \
         fetch it with `berth pull --platform {os}/{architecture}`"
    )
}

fn parse(digest: &str, blob: &[u8]) -> Result<Manifest> {
    serde_json::from_slice(blob).with_context(|| format!("parse manifest {digest}"))
}

/// A small blob.
async fn read(client: &Client, digest: &str) -> Result<Vec<u8>> {
    let blob = read_if_there(client, digest).await?;
    blob.with_context(|| format!("blob {digest} is missing, pull the image again"))
}

async fn read_if_there(client: &Client, digest: &str) -> Result<Option<Vec<u8>>> {
    let doing = || format!("read blob {digest}");
    let request = ReadContentRequest { digest: digest.to_owned(), ..Default::default() };
    let answer = client.content().read(client.request(request)).await.optional().step(doing)?;
    let Some(answer) = answer else { return Ok(None) };
    let mut pieces = answer.into_inner();
    let mut blob = Vec::new();
    loop {
        match pieces.message().await.optional().step(doing)? {
            Some(Some(piece)) => blob.extend_from_slice(&piece.data),
            Some(None) => return Ok(Some(blob)),
            None => return Ok(None),
        }
        if blob.len() as i64 > MAX_BLOB {
            bail!("blob {digest} is larger than {MAX_BLOB} bytes, no manifest or config is");
        }
    }
}
