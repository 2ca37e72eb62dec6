//! Images built from local files into an OCI image layout, pushed with skopeo.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Registry, program};

/// One layer's tar, under construction.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Layer {
    /// Adds a folder.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn dir(mut self, path: &str) -> Result<Self> {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        self.0.append_data(&mut header, path, std::io::empty())?;
        Ok(self)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Result<Self> {
        let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
        self.0.append_data(&mut header, path, content)?;
        Ok(self)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn symlink(mut self, path: &str, target: &str) -> Result<Self> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut header, path, target)?;
        Ok(self)
    }

    /// Adds a hard link to an earlier entry.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn hard_link(mut self, path: &str, target: &str) -> Result<Self> {
        let mut header = header(tar::EntryType::Link, 0o644, 0);
        self.0.append_link(&mut header, path, target)?;
        Ok(self)
    }

    fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().context("finish the layer's tar")
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}

/// An image as an OCI image layout in a folder of its own.
#[derive(Debug)]
pub struct Image {
    layout: TempDir,
    /// The manifest's digest.
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
        Self::build(vec![busybox_layer()?], json!({"Cmd": ["/bin/sh"]}))
    }

    /// An image of these layers, lowest first, each gzipped, with this `config` part.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn build(layers: Vec<Layer>, config: Value) -> Result<Self> {
        let layout = tempfile::tempdir().context("make the layout's folder")?;
        fs_err::create_dir_all(layout.path().join("blobs/sha256"))?;
        fs_err::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let (mut diff_ids, mut descriptors, mut layer_sizes) = (vec![], vec![], vec![]);
        for layer in layers {
            let tar = layer.finish()?;
            diff_ids.push(sha256(&tar));
            let mut gzip = GzEncoder::new(Vec::new(), Compression::new(3));
            gzip.write_all(&tar)?;
            let blob = gzip.finish()?;
            layer_sizes.push(blob.len());
            let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
            descriptors.push(put(layout.path(), media_type, &blob)?);
        }
        let image = json!({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config_type = "application/vnd.oci.image.config.v1+json";
        let config = put(layout.path(), config_type, image.to_string().as_bytes())?;
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": config, "layers": descriptors,
        });
        let manifest = put(layout.path(), manifest_type, manifest.to_string().as_bytes())?;
        let digest = manifest["digest"].as_str().context("manifest has no digest")?.to_owned();
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs_err::write(layout.path().join("index.json"), index.to_string())?;
        Ok(Self { layout, digest, layer_sizes })
    }

    /// Pushes it with skopeo; answers the full reference.
    ///
    /// # Errors
    /// skopeo's own words.
    pub fn push(&self, registry: &Registry, name: &str) -> Result<String> {
        self.push_with(registry, name, &[])
    }

    /// Pushes it with skopeo and further options (`--dest-creds user:password`).
    ///
    /// # Errors
    /// skopeo's own words.
    pub fn push_with(&self, registry: &Registry, name: &str, options: &[&str]) -> Result<String> {
        let reference = registry.reference(name);
        program("skopeo")
            .args(["copy", "--insecure-policy", "-q", "--dest-tls-verify=false"])
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

/// The layer of [`Image::busybox`], for images with more on top.
///
/// # Errors
/// When busybox-static is not installed.
fn busybox_layer() -> Result<Layer> {
    let busybox =
        fs_err::read("/bin/busybox").context("read busybox (Debian package busybox-static)")?;
    let mut layer = Layer::default();
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "run"] {
        layer = layer.dir(dir)?;
    }
    layer = layer.file("bin/busybox", 0o755, &busybox)?;
    layer = layer.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/tmp:/bin/sh\n",
    )?;
    layer = layer.file("etc/group", 0o644, b"root:x:0:\nguest:x:1000:\n")?;
    let applets = program("/bin/busybox").args(["--list"]).output()?.ok()?;
    for applet in applets.lines().filter(|name| *name != "busybox") {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    Ok(layer)
}

impl Layer {
    /// busybox with its applets and the usual folders.
    ///
    /// # Errors
    /// When busybox-static is not installed.
    pub fn busybox() -> Result<Self> {
        busybox_layer()
    }
}

/// Writes a blob into a layout; answers its descriptor.
fn put(layout: &Path, media_type: &str, blob: &[u8]) -> Result<Value> {
    let digest = sha256(blob);
    let hex = digest.trim_start_matches("sha256:");
    fs_err::write(layout.join("blobs/sha256").join(hex), blob)?;
    Ok(json!({"mediaType": media_type, "digest": digest, "size": blob.len()}))
}

fn sha256(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
