//! Manifests, indexes and configs, as they lie in the content store. Whoever made the image wrote them.

use berth_ids::Digest;
use berth_runtime_spec::ImageConfig;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::platform::{self, Platform};
use crate::peers::{Node, content};
use crate::{Error, Result};

/// The most that a manifest, an index or a config may have, in bytes.
const MAX_DOCUMENT: usize = 8 << 20;
/// How many indexes may lie in one another.
const MAX_DEPTH: usize = 4;
/// The most layers of an image.
const MAX_LAYERS: usize = 1024;

/// What points at a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    #[serde(default)]
    pub size: i64,
    /// What a manifest of an index is for.
    #[serde(default)]
    platform: Option<Platform>,
}

/// A manifest or an index.
#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

/// The part of a config that names the layers' contents.
#[derive(Deserialize)]
struct Layered {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

/// What an image is for this machine.
#[derive(Clone, Debug)]
pub struct Documents {
    /// Its config's name, by which kubelets call it.
    pub config: Digest,
    /// The config, as it is.
    pub config_blob: Vec<u8>,
    /// How to run it.
    pub run: ImageConfig,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// What is in them.
    pub diff_ids: Vec<Digest>,
    /// Bytes of manifest, config and layers.
    pub size: u64,
}

impl Documents {
    /// Follows a record's target to what is for this machine. `None` if that is not all here.
    ///
    /// # Errors
    /// [`Error::Peer`]; [`Error::Unreadable`] of what is no image and never becomes one.
    pub async fn read(node: &Node, target: &str) -> Result<Option<Self>> {
        let target = target.parse::<Digest>();
        let target = target.map_err(|error| Error::Invalid(error.to_string()))?;
        let Some((manifest, size)) = manifest(node, target).await? else { return Ok(None) };
        let Some(config) = manifest.config else { return Ok(None) };
        let blob = content::read(node, config.digest.as_str(), MAX_DOCUMENT).await?;
        let Some(config_blob) = blob else { return Ok(None) };
        let layers = manifest.layers.unwrap_or_default();
        Self::new(config, config_blob, layers, size).map(Some)
    }

    fn new(
        config: Descriptor,
        config_blob: Vec<u8>,
        layers: Vec<Descriptor>,
        manifest: usize,
    ) -> Result<Self> {
        let wrong =
            |why: String| Error::Unreadable { what: "config", id: config.digest.to_string(), why };
        let layered: Layered =
            serde_json::from_slice(&config_blob).map_err(|error| wrong(error.to_string()))?;
        let run = ImageConfig::parse(&config_blob).map_err(|error| wrong(error.to_string()))?;
        let diff_ids = layered.rootfs.diff_ids.unwrap_or_default();
        if layers.len().max(diff_ids.len()) > MAX_LAYERS {
            return Err(wrong(format!("it has more than {MAX_LAYERS} layers")));
        }
        let sizes = layers.iter().map(|layer| layer.size).chain([config.size]);
        let sizes = sizes.map(|size| u64::try_from(size).unwrap_or_default());
        let size = sizes.fold(manifest as u64, u64::saturating_add);
        Ok(Self { config: config.digest, config_blob, run, layers, diff_ids, size })
    }

    /// The chain IDs of the layers, the lowest first: each names one with all that is below it.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        let mut chain: Vec<String> = Vec::with_capacity(self.diff_ids.len());
        for diff_id in &self.diff_ids {
            chain.push(match chain.last() {
                None => diff_id.to_string(),
                Some(below) => {
                    let hash = Sha256::digest(format!("{below} {diff_id}"));
                    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("sha256:{hex}")
                }
            });
        }
        chain
    }
}

/// The manifest that is meant, and its bytes.
async fn manifest(node: &Node, target: Digest) -> Result<Option<(Manifest, usize)>> {
    let mut candidates = vec![target];
    for _ in 0..MAX_DEPTH {
        let mut found = None;
        for digest in candidates {
            if let Some(blob) = content::read(node, digest.as_str(), MAX_DOCUMENT).await? {
                found = Some((digest, blob));
                break;
            }
        }
        let Some((digest, blob)) = found else { return Ok(None) };
        let parsed: Manifest = serde_json::from_slice(&blob).map_err(|error| {
            let why = error.to_string();
            Error::Unreadable { what: "manifest", id: digest.to_string(), why }
        })?;
        if parsed.config.is_some() {
            return Ok(Some((parsed, blob.len())));
        }
        candidates = best_first(parsed.manifests.unwrap_or_default());
    }
    Ok(None)
}

/// The parts of an index that this machine may run.
fn best_first(manifests: Vec<Descriptor>) -> Vec<Digest> {
    let ranked = |of: Descriptor| Some((platform::rank(of.platform.as_ref())?, of.digest));
    let mut fitting: Vec<_> = manifests.into_iter().filter_map(ranked).collect();
    // Of equals the first one listed, as at a pull.
    fitting.sort_by_key(|(rank, _)| *rank);
    fitting.into_iter().map(|(_, digest)| digest).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(of: u8) -> Digest {
        format!("sha256:{}", format!("{of:02x}").repeat(32)).parse().unwrap()
    }

    fn descriptor(of: u8, size: i64) -> Descriptor {
        Descriptor { media_type: String::new(), digest: digest(of), size, platform: None }
    }

    #[test]
    fn sizes_and_chains_are_of_all_layers() {
        let config =
            json!({"config": {"User": "7"}, "rootfs": {"diff_ids": [digest(3), digest(3)]}});
        let blob = config.to_string().into_bytes();
        let layers = vec![descriptor(1, 10), descriptor(2, -5)];
        let documents = Documents::new(descriptor(4, 100), blob, layers, 1000).unwrap();
        assert_eq!((documents.size, documents.run.user.as_str()), (1110, "7"));
        let chain = documents.chain();
        assert_eq!(chain[0], digest(3).to_string());
        // The hash of both with a space between.
        let both = "e71b1b6a0a18492751896d877bbba9eabedb3e6c8aa9b966038a3d9bb13b25b5";
        assert_eq!(chain[1], format!("sha256:{both}"));
    }

    #[test]
    fn what_somebody_made_up_is_refused() {
        let new = |blob: &str, layers| {
            Documents::new(descriptor(1, i64::MAX), blob.as_bytes().to_vec(), layers, 1)
        };
        let many = (0..=MAX_LAYERS).map(|_| descriptor(1, i64::MAX)).collect();
        for (blob, layers) in [
            ("", vec![]),
            ("{}", vec![]),
            (r#"{"rootfs":{"diff_ids":["sha256:../../x"]}}"#, vec![]),
            (r#"{"rootfs":{"diff_ids":[]},"config":{"User":7}}"#, vec![]),
            (r#"{"rootfs":{"diff_ids":[]}}"#, many),
        ] {
            assert!(matches!(new(blob, layers), Err(Error::Unreadable { .. })), "{blob}");
        }
        let large = (0..3).map(|_| descriptor(1, i64::MAX)).collect();
        let documents = new(r#"{"rootfs":{"diff_ids":null}}"#, large).unwrap();
        assert_eq!(documents.size, u64::MAX, "no sum overflows");
        assert!(documents.chain().is_empty());
    }
}
