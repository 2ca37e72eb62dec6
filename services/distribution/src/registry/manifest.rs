//! The documents that registries serve: manifests, indexes and configurations, OCI's and docker's.

use std::collections::BTreeMap;

use berth_ids::Digest;
use serde::{Deserialize, Serialize};

use super::Error;

/// Media types.
pub mod media {
    /// OCI manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, plain or unknown.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's first manifests, which nobody reads any more.
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

    /// Whether it is a manifest with layers.
    #[must_use]
    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether it lists manifests.
    #[must_use]
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, OCI_INDEX | DOCKER_LIST)
    }

    /// Whether it is an image configuration.
    #[must_use]
    pub fn is_config(media_type: &str) -> bool {
        matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
    }

    /// Whether it is a configuration of an image or of a checkpoint.
    #[must_use]
    pub fn is_known_config(media_type: &str) -> bool {
        is_config(media_type)
            || matches!(
                media_type,
                "application/vnd.containerd.container.criu.checkpoint.criu.tar"
                    | "application/vnd.containerd.container.checkpoint.config.v1+proto"
            )
    }

    /// Whether it says how an image came to be.
    #[must_use]
    pub fn is_attestation(media_type: &str) -> bool {
        media_type == "application/vnd.in-toto+json"
    }

    /// Whether it is a layer of a root file system.
    #[must_use]
    pub fn is_layer(media_type: &str) -> bool {
        let base = media_type.split('+').next().unwrap_or(media_type);
        media_type.starts_with("application/vnd.oci.image.layer.")
            || base == DOCKER_LAYER
            || base == DOCKER_LAYER_GZIP
            || base == "application/vnd.docker.image.rootfs.diff.tar.zstd"
            || base == "application/vnd.erofs.layer.v1"
            || base == "application/vnd.docker.image.rootfs.foreign.diff.tar"
            || base == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    }

    /// Whether it may not be given to others.
    #[must_use]
    pub fn is_non_distributable(media_type: &str) -> bool {
        media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
            || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
    }
}

/// What names some bytes and says what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What they are.
    #[serde(default)]
    pub media_type: String,
    /// Their hash.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// Where else they may be fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free remarks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
    /// The machine that they are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The kind of artifact, for what is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor of bytes at hand.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }
}

/// A machine: operating system and processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor.
    #[serde(default)]
    pub architecture: String,
    /// The operating system.
    #[serde(default)]
    pub os: String,
    /// Its version.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Its features.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The processor's variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A manifest: a configuration and layers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    #[serde(default)]
    pub schema_version: u32,
    /// Its own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "nullable")]
    pub layers: Vec<Descriptor>,
}

/// An index: manifests for several machines.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    #[serde(default)]
    pub schema_version: u32,
    /// Its own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    #[serde(default, deserialize_with = "nullable")]
    pub manifests: Vec<Descriptor>,
}

/// Either of the two, told apart by what it has.
#[derive(Clone, Debug)]
pub enum Document {
    /// A manifest.
    Manifest(Box<Manifest>),
    /// An index.
    Index(Index),
}

impl Document {
    /// Reads a manifest or an index, whichever `descriptor` says it is.
    ///
    /// A document with the fields of both is refused: two readers could see two images in it.
    ///
    /// # Errors
    /// [`Error::Document`].
    pub fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            media_type: Option<String>,
            layers: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
            manifests: Option<serde::de::IgnoredAny>,
            fs_layers: Option<serde::de::IgnoredAny>,
        }
        let wrong = |reason: String| Error::Document {
            what: format!("manifest {}", descriptor.digest),
            reason,
        };
        let shape: Shape = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        if shape.fs_layers.is_some() || descriptor.media_type == media::DOCKER_SCHEMA1 {
            return Err(wrong("docker schema 1 is not supported, push the image anew".into()));
        }
        let is_index = media::is_index(&descriptor.media_type);
        let is_image = shape.layers.is_some() || shape.config.is_some();
        if shape.manifests.is_some() && is_image {
            return Err(wrong("it has both layers and manifests".into()));
        }
        if is_index && is_image || !is_index && shape.config.is_none() {
            return Err(wrong(format!("it is not what {:?} says", descriptor.media_type)));
        }
        // Another family's name for the same kind of document is none of our business.
        if let Some(own) = shape.media_type
            && (if is_index { media::is_manifest(&own) } else { media::is_index(&own) })
        {
            return Err(wrong(format!(
                "it calls itself {own:?}, its descriptor {:?}",
                descriptor.media_type
            )));
        }
        let parsed = if is_index {
            serde_json::from_slice(bytes).map(Document::Index)
        } else {
            serde_json::from_slice(bytes).map(|manifest| Document::Manifest(Box::new(manifest)))
        };
        parsed.map_err(|e| wrong(e.to_string()))
    }
}

/// The part of an image's configuration that unpacking needs.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The machine that it is for.
    #[serde(flatten)]
    pub platform: Platform,
    /// Its layers.
    #[serde(default)]
    pub rootfs: RootFs,
}

/// The layers of a root file system by the digests of their plain tars.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The digests, lowest first.
    #[serde(default, deserialize_with = "nullable")]
    pub diff_ids: Vec<Digest>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Error::Document`].
    pub fn parse(digest: &Digest, bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|e| Error::Document {
            what: format!("image configuration {digest}"),
            reason: e.to_string(),
        })
    }
}

/// Go writes an absent list or map as `null`.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(media_type: &str, text: &str) -> Result<Document, Error> {
        let digest = format!("sha256:{}", "00".repeat(32)).parse().unwrap();
        Document::parse(&Descriptor::new(media_type, digest, 1), text.as_bytes())
    }

    fn blob() -> String {
        format!(r#"{{"mediaType":"x","digest":"sha256:{}","size":1}}"#, "11".repeat(32))
    }

    #[test]
    fn reads_both_kinds() {
        let manifest = format!(r#"{{"config":{0},"layers":[{0}],"annotations":null}}"#, blob());
        assert!(matches!(parse(media::OCI_MANIFEST, &manifest), Ok(Document::Manifest(_))));
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, blob());
        assert!(matches!(parse(media::DOCKER_LIST, &index), Ok(Document::Index(_))));
    }

    #[test]
    fn refuses_what_is_neither_or_both() {
        let both = format!(r#"{{"config":{0},"layers":[],"manifests":[{0}]}}"#, blob());
        for media_type in [media::OCI_MANIFEST, media::OCI_INDEX] {
            let error = parse(media_type, &both).unwrap_err().to_string();
            assert!(error.contains("both layers and manifests"), "{error}");
        }
        assert!(parse(media::OCI_MANIFEST, r#"{"manifests":[]}"#).is_err());
        assert!(parse(media::OCI_MANIFEST, r#"{"fsLayers":[]}"#).is_err());
        assert!(parse(media::OCI_MANIFEST, "{").is_err());
        let lying = format!(r#"{{"mediaType":"{}","manifests":[]}}"#, media::OCI_MANIFEST);
        assert!(parse(media::OCI_INDEX, &lying).is_err());
        assert!(parse(media::OCI_INDEX, &format!(r#"{{"config":{}}}"#, blob())).is_err());
        let docker = format!(r#"{{"mediaType":"{}","config":{}}}"#, media::DOCKER_MANIFEST, blob());
        assert!(parse(media::OCI_MANIFEST, &docker).is_ok());
    }
}
