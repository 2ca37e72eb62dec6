//! Manifests, indexes and configs as the registry's JSON has them, and what follows from them.

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use berth_ids::{Algorithm, Digest};
use berth_proto::containerd::types;
use serde::Deserialize;

/// The platform of a part of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// Such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// Such as `v7`.
    #[serde(default)]
    pub variant: String,
}

/// What points at a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// The blob's name.
    pub digest: String,
    /// The blob's bytes.
    #[serde(default)]
    pub size: i64,
    /// What a manifest of an index is for.
    #[serde(default)]
    pub platform: Option<Platform>,
}

impl From<&Descriptor> for types::Descriptor {
    fn from(of: &Descriptor) -> Self {
        Self {
            media_type: of.media_type.clone(),
            digest: of.digest.clone(),
            size: of.size,
            ..Default::default()
        }
    }
}

/// A manifest or an index.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    /// A manifest's config.
    pub config: Option<Descriptor>,
    /// A manifest's layers.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// An index's manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

/// The part of an image's config that names its layers.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// The layers.
    pub rootfs: RootFs,
}

/// The layers of an image, by what they contain.
#[derive(Debug, Deserialize)]
pub struct RootFs {
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// Reads `OS/ARCH[/VARIANT]`, or `ARCH` alone.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [architecture] => ("linux", architecture, ""),
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, variant),
            _ => bail!("platform {text:?} is not OS/ARCH[/VARIANT]"),
        };
        if [os, architecture].contains(&"") {
            bail!("platform {text:?} is not OS/ARCH[/VARIANT]");
        }
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self { os: os.into(), architecture: architecture.into(), variant: variant.into() })
    }

    /// How well `other` runs here: 0 is not at all.
    fn fits(&self, other: &Platform) -> u8 {
        if (&self.os, &self.architecture) != (&other.os, &other.architecture) {
            return 0;
        }
        match (self.variant.as_str(), other.variant.as_str()) {
            (wanted, has) if wanted == has => 3,
            ("" | "v8", "" | "v8") => 2,
            (_, "") => 1,
            ("", _) => 1,
            _ => 0,
        }
    }
}

impl From<&Platform> for types::Platform {
    fn from(of: &Platform) -> Self {
        Self {
            os: of.os.clone(),
            architecture: of.architecture.clone(),
            variant: of.variant.clone(),
            ..Default::default()
        }
    }
}

/// Whether a media type is that of an index.
pub fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

/// The manifests of an index that may serve for a platform, best first.
pub fn candidates<'a>(index: &'a Manifest, platform: &Platform) -> Vec<&'a Descriptor> {
    let fit = |of: &Descriptor| of.platform.as_ref().map_or(1, |has| platform.fits(has));
    let mut fitting: Vec<_> = index.manifests.iter().filter(|of| fit(of) > 0).collect();
    fitting.sort_by_key(|of| std::cmp::Reverse(fit(of)));
    fitting
}

/// The chain IDs of layers, lowest first: each names a layer with all that is below it.
pub fn chain_ids(diff_ids: &[Digest]) -> Result<Vec<Digest>> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => {
                let hash = digest(&SHA256, format!("{below} {diff_id}").as_bytes());
                Digest::of_hash(Algorithm::Sha256, hash.as_ref()).context("name a layer")?
            }
        };
        chain.push(next);
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("linux/amd64", "linux", "amd64", "")]
    #[case("arm64", "linux", "arm64", "")]
    #[case("linux/arm/v7", "linux", "arm", "v7")]
    #[case("x86_64", "linux", "amd64", "")]
    fn a_platform_is_read(
        #[case] text: &str,
        #[case] os: &str,
        #[case] architecture: &str,
        #[case] variant: &str,
    ) {
        let platform = Platform::parse(text).unwrap();
        assert_eq!(
            (platform.os.as_str(), platform.architecture.as_str(), platform.variant.as_str()),
            (os, architecture, variant)
        );
    }

    #[test]
    fn a_platform_that_is_none_is_refused() {
        for text in ["", "/", "linux/", "a/b/c/d"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_best_manifest_of_an_index_comes_first() {
        let entry = |digest: &str, platform: &str| Descriptor {
            digest: digest.into(),
            platform: Some(Platform::parse(platform).unwrap()),
            ..Default::default()
        };
        let index = Manifest {
            config: None,
            layers: Vec::new(),
            manifests: vec![
                entry("a", "linux/amd64"),
                entry("b", "linux/arm/v6"),
                entry("c", "linux/arm/v7"),
                entry("d", "unknown/unknown"),
            ],
        };
        let best = |platform: &str| {
            let platform = Platform::parse(platform).unwrap();
            candidates(&index, &platform).first().map(|of| of.digest.clone())
        };
        assert_eq!(best("linux/amd64").as_deref(), Some("a"));
        assert_eq!(best("linux/arm/v7").as_deref(), Some("c"));
        assert_eq!(best("linux/s390x"), None);
    }

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let diff: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let chain = chain_ids(&[diff.clone(), diff.clone()]).unwrap();
        assert_eq!(chain[0], diff);
        let hash = digest(&SHA256, format!("{diff} {diff}").as_bytes());
        assert_eq!(chain[1], Digest::of_hash(Algorithm::Sha256, hash.as_ref()).unwrap());
        assert_eq!(chain_ids(&[]).unwrap(), []);
    }
}
