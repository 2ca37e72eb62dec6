//! Images built from local files into an OCI image layout, pushed with skopeo.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Layer, Registry, program};

/// How a layer's tar is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// gzip.
    #[default]
    Gzip,
    /// Zstandard.
    Zstd,
    /// Not at all.
    Plain,
}

impl Packing {
    fn pack(self, tar: Vec<u8>) -> Result<Vec<u8>> {
        Ok(match self {
            Packing::Gzip => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::new(3));
                gzip.write_all(&tar)?;
                gzip.finish()?
            }
            Packing::Zstd => zstd::bulk::compress(&tar, 1)?,
            Packing::Plain => tar,
        })
    }
}

/// Whose media types a document has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// OCI's.
    #[default]
    Oci,
    /// Docker's: manifest schema 2 and manifest lists.
    Docker,
}

impl Family {
    fn manifest(self) -> &'static str {
        match self {
            Family::Oci => "application/vnd.oci.image.manifest.v1+json",
            Family::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn index(self) -> &'static str {
        match self {
            Family::Oci => "application/vnd.oci.image.index.v1+json",
            Family::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Family::Oci => "application/vnd.oci.image.config.v1+json",
            Family::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self, packing: Packing) -> String {
        let (base, gzip, zstd) = match self {
            Family::Oci => ("application/vnd.oci.image.layer.v1.tar", "+gzip", "+zstd"),
            Family::Docker => ("application/vnd.docker.image.rootfs.diff.tar", ".gzip", ".zstd"),
        };
        let end = match packing {
            Packing::Gzip => gzip,
            Packing::Zstd => zstd,
            Packing::Plain => "",
        };
        format!("{base}{end}")
    }
}

/// What an image is made as.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// How its layers are packed.
    pub packing: Packing,
    /// Whose media types it has.
    pub family: Family,
    /// The processor that it is for.
    pub architecture: &'static str,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { packing: Packing::Gzip, family: Family::Oci, architecture: "amd64" }
    }
}

/// A layer as a registry has it, and what the image says of it.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its media type.
    pub media_type: String,
    /// The digest of the tar in it.
    pub diff_id: String,
    /// What is sent.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// A layer made as `recipe` says.
    ///
    /// # Errors
    /// When the tar can't be finished or packed.
    pub fn of(layer: Layer, recipe: &Recipe) -> Result<Self> {
        let tar = layer.finish()?;
        let (media_type, diff_id) = (recipe.family.layer(recipe.packing), sha256(&tar));
        Ok(Self { media_type, diff_id, bytes: recipe.packing.pack(tar)? })
    }

    /// The digest of what is sent.
    #[must_use]
    pub fn digest(&self) -> String {
        sha256(&self.bytes)
    }
}

/// An image, or an index of several, as an OCI image layout in a folder of its own.
#[derive(Debug)]
pub struct Image {
    layout: TempDir,
    architecture: &'static str,
    /// The digest of the manifest or index.
    pub digest: String,
    /// Compressed sizes of the layers, in bytes, lowest first.
    pub layer_sizes: Vec<usize>,
}

impl Image {
    /// The layout's folder.
    #[must_use]
    pub fn layout(&self) -> &Path {
        self.layout.path()
    }

    /// busybox with its applets, a shell and the usual folders, as one layer.
    ///
    /// # Errors
    /// When busybox-static is not installed or a file can't be written.
    pub fn busybox() -> Result<Self> {
        Self::build(vec![Layer::busybox()?], json!({"Cmd": ["/bin/sh"]}))
    }

    /// An image of these layers, lowest first, each gzipped, with this `config` part.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn build(layers: Vec<Layer>, config: Value) -> Result<Self> {
        Self::build_as(&Recipe::default(), layers, config)
    }

    /// An image of these layers, lowest first, made as `recipe` says, with this `config` part.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn build_as(recipe: &Recipe, layers: Vec<Layer>, config: Value) -> Result<Self> {
        let blob = |layer: Layer| Blob::of(layer, recipe);
        Self::of_blobs(recipe, layers.into_iter().map(blob).collect::<Result<_>>()?, config)
    }

    /// An image of these blobs as layers, lowest first, with this `config` part.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn of_blobs(recipe: &Recipe, layers: Vec<Blob>, config: Value) -> Result<Self> {
        let (layout, family) = (empty_layout()?, recipe.family);
        let (mut diff_ids, mut descriptors, mut layer_sizes) = (vec![], vec![], vec![]);
        for layer in layers {
            diff_ids.push(layer.diff_id);
            layer_sizes.push(layer.bytes.len());
            descriptors.push(put(layout.path(), &layer.media_type, &layer.bytes)?);
        }
        let image = json!({
            "architecture": recipe.architecture, "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = put(layout.path(), family.config(), image.to_string().as_bytes())?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": family.manifest(),
            "config": config, "layers": descriptors,
        });
        let manifest = put(layout.path(), family.manifest(), manifest.to_string().as_bytes())?;
        let digest = list(layout.path(), manifest)?;
        Ok(Self { layout, architecture: recipe.architecture, digest, layer_sizes })
    }

    /// An index of these images, each for its processor.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn index(family: Family, images: &[Image]) -> Result<Self> {
        let layout = empty_layout()?;
        let mut manifests = Vec::new();
        for image in images {
            for blob in fs_err::read_dir(image.layout().join("blobs/sha256"))? {
                let blob = blob?;
                fs_err::copy(
                    blob.path(),
                    layout.path().join("blobs/sha256").join(blob.file_name()),
                )?;
            }
            let listed = fs_err::read(image.layout().join("index.json"))?;
            let mut listed: Value = serde_json::from_slice(&listed)?;
            let mut manifest = listed["manifests"][0].take();
            manifest["platform"] = json!({"os": "linux", "architecture": image.architecture});
            manifests.push(manifest);
        }
        let media_type = family.index();
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        let index = put(layout.path(), media_type, index.to_string().as_bytes())?;
        let digest = list(layout.path(), index)?;
        Ok(Self { layout, architecture: "", digest, layer_sizes: Vec::new() })
    }

    /// Pushes it with skopeo; answers the full reference.
    ///
    /// # Errors
    /// skopeo's own words.
    pub fn push(&self, registry: &Registry, name: &str) -> Result<String> {
        self.push_with(registry, name, &[])
    }

    /// Pushes it with skopeo and further options (`--dest-creds user:password`), byte for byte.
    ///
    /// # Errors
    /// skopeo's own words.
    pub fn push_with(&self, registry: &Registry, name: &str, options: &[&str]) -> Result<String> {
        let reference = registry.reference(name);
        program("skopeo")
            .args(["copy", "--insecure-policy", "-q", "--dest-tls-verify=false"])
            .args(["--all", "--preserve-digests"])
            .args(options)
            .args([
                format!("oci:{}", self.layout.path().display()),
                format!("docker://{reference}"),
            ])
            .output()?
            .ok()?;
        Ok(reference)
    }
}

fn empty_layout() -> Result<TempDir> {
    let layout = tempfile::tempdir().context("make the layout's folder")?;
    fs_err::create_dir_all(layout.path().join("blobs/sha256"))?;
    fs_err::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(layout)
}

/// Makes this the layout's one entry; answers its digest.
fn list(layout: &Path, entry: Value) -> Result<String> {
    let digest = entry["digest"].as_str().context("a descriptor has no digest")?.to_owned();
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    fs_err::write(layout.join("index.json"), index.to_string())?;
    Ok(digest)
}

/// Writes a blob into a layout; answers its descriptor.
fn put(layout: &Path, media_type: &str, blob: &[u8]) -> Result<Value> {
    let digest = sha256(blob);
    let hex = digest.trim_start_matches("sha256:");
    fs_err::write(layout.join("blobs/sha256").join(hex), blob)?;
    Ok(json!({"mediaType": media_type, "digest": digest, "size": blob.len()}))
}

/// The digest of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
