//! Images that are pulled: made of this machine's own files, so that they compress as real ones do.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use berth_testkit::{Image, Layer};
use serde_json::json;

use crate::daemon::Node;

/// Larger files would make layers of one file.
const LARGEST: u64 = 20 << 20;

/// busybox alone.
pub fn tiny() -> Result<Image> {
    Image::busybox()
}

/// `count` layers of about `size` bytes each, before compression.
pub fn large(count: usize, size: u64) -> Result<Image> {
    let mut files = Files::new();
    let layers = (0..count).map(|_| layer(&mut files, size)).collect::<Result<Vec<_>>>()?;
    Image::build(layers, json!({"Cmd": ["/bin/true"]}))
}

/// Pulls and unpacks with the client that both have.
pub fn pull(node: &Node, image: &str) -> Result<()> {
    let line = format!("-n measure images pull --plain-http {image}");
    node.ctr(&line).output()?.ok()?;
    Ok(())
}

/// Removes an image, and waits until nothing of it is left.
pub fn remove(node: &Node, image: &str) -> Result<()> {
    node.ctr(&format!("-n measure images rm --sync {image}")).output()?.ok()?;
    let left = node.ctr("-n measure content ls -q").output()?.ok()?;
    ensure!(left.trim().is_empty(), "blobs are left after the removal:\n{left}");
    Ok(())
}

fn layer(files: &mut Files, size: u64) -> Result<Layer> {
    let (mut layer, mut held) = (Layer::default(), 0);
    while held < size {
        let Some(path) = files.next() else { break };
        let Ok(content) = fs_err::read(&path) else { continue };
        held += content.len() as u64;
        let name = path.strip_prefix("/").unwrap_or(&path).to_string_lossy().into_owned();
        layer = layer.file(&name, 0o644, &content)?;
    }
    Ok(layer)
}

/// The regular files below a few folders of this machine, in the order of their names.
struct Files {
    folders: Vec<PathBuf>,
    found: Vec<PathBuf>,
}

impl Files {
    fn new() -> Self {
        let folders = ["/usr/share", "/usr/bin", "/usr/lib"].map(PathBuf::from).to_vec();
        Self { folders, found: Vec::new() }
    }

    fn open(&mut self, folder: &Path) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        for entry in entries {
            let Ok(meta) = entry.metadata() else { continue };
            // A name that old tar headers hold.
            if meta.is_dir() {
                self.folders.push(entry.path());
            } else if meta.is_file() && meta.len() <= LARGEST {
                self.found.push(entry.path());
            }
        }
    }
}

impl Iterator for Files {
    type Item = PathBuf;

    fn next(&mut self) -> Option<PathBuf> {
        while self.found.is_empty() {
            let folder = self.folders.pop()?;
            self.open(&folder);
        }
        self.found.pop()
    }
}
