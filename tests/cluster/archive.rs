//! An image of busybox as an archive that nodes import.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use berth_testkit::{Image, Layer, program};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What it is called.
pub const IMAGE: &str = "localhost/busybox:1";

/// An archive.
pub struct Archive(TempDir);

impl Archive {
    /// One of busybox, called [`IMAGE`].
    pub fn new() -> Result<Self> {
        let layers = vec![Layer::busybox()?, Layer::default().file("second", 0o644, b"layer")?];
        Self::of(&Image::build(layers, json!({"Cmd": ["sh"]}))?, IMAGE)
    }

    /// One of an image that is called so.
    pub fn of(image: &Image, name: &str) -> Result<Self> {
        let index = image.layout().join("index.json");
        let mut listed: Value = serde_json::from_slice(&fs_err::read(&index)?)?;
        let entry = listed["manifests"].get_mut(0).context("the layout has no image")?;
        entry["annotations"] = json!({"io.containerd.image.name": name});
        fs_err::write(&index, listed.to_string())?;
        let dir = tempfile::tempdir().context("make the archive's folder")?;
        let archive = dir.path().join("image.tar");
        program("tar")
            .args(["-C"])
            .args([image.layout()])
            .args(["-cf"])
            .args([&archive])
            .args(["."])
            .output()?
            .ok()?;
        Ok(Self(dir))
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder().join("image.tar")
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }
}
