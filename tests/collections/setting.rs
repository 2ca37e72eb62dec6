//! What the story begins with: images in a registry, pulled once on a quiet node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Image, Layer, Node, Registry};

use tempfile::TempDir;

use crate::client::{Client, Listed, SNAPSHOTTER};
use crate::model::{Made, Model, Thing};

/// How many images there are.
const IMAGES: usize = 4;

/// An image and what a pull of it makes.
pub struct Pulled {
    pub reference: String,
    pub manifest: Thing,
    pub made: BTreeMap<Thing, Made>,
}

pub struct Setting {
    pub images: Vec<Pulled>,
    archives: TempDir,
    _registry: Registry,
}

impl Setting {
    /// Pushes small images that share a layer, pulls each, and learns from the labels of what is
    /// there then what keeps what.
    pub async fn make(node: &Node, client: &Client, model: &mut Model) -> Result<Self> {
        let (registry, archives) = (Registry::start()?, tempfile::tempdir()?);
        let mut images = Vec::new();
        for number in 0..IMAGES {
            let layer =
                |name: &str, text: &str| Layer::default().file(name, 0o644, text.as_bytes());
            let layers = vec![layer("shared", "the same")?, layer("own", &number.to_string())?];
            let image = Image::build(layers, serde_json::json!({}))?;
            let reference = image.push(&registry, &format!("image-{number}:1"))?;
            node.berth(&format!("pull {reference}")).output()?.ok()?;
            let archive = archives.path().join(number.to_string());
            node.berth(&format!("export {} {reference}", archive.display())).output()?.ok()?;
            let manifest = Thing::Blob(image.digest.clone());
            model.made = client.list().await?.into_iter().map(made).collect();
            model.images.insert(reference.clone(), manifest.clone());
            let alone = Model {
                made: model.made.clone(),
                images: [(String::new(), manifest.clone())].into(),
                ..Model::default()
            };
            let kept = alone.reachable();
            for blob in fs_err::read_dir(image.layout().join("blobs/sha256"))? {
                let digest = format!("sha256:{}", blob?.file_name().to_string_lossy());
                ensure!(kept.contains(&Thing::Blob(digest)), "not all of {reference}: {kept:?}");
            }
            let snapshots = kept.iter().filter(|thing| matches!(thing, Thing::Snapshot(_))).count();
            ensure!(snapshots == 2, "not both snapshots of {reference}: {kept:?}");
            let made = kept.into_iter().map(|thing| (thing.clone(), model.made[&thing].clone()));
            images.push(Pulled { reference, manifest, made: made.collect() });
        }
        let all: BTreeSet<_> = model.made.keys().cloned().collect();
        ensure!(model.reachable() == all, "a pull leaves what it does not need");
        model.pulled.clone_from(&model.made);
        Ok(Self { images, archives, _registry: registry })
    }

    /// An archive of an image.
    pub fn archive(&self, reference: &str) -> Result<PathBuf> {
        let at = self.images.iter().position(|image| image.reference == reference);
        Ok(self.archives.path().join(at.with_context(|| reference.to_owned())?.to_string()))
    }

    /// The image of a reference.
    pub fn image(&self, reference: &str) -> Result<&Pulled> {
        let found = self.images.iter().find(|image| image.reference == reference);
        found.with_context(|| reference.to_owned())
    }
}

fn made(listed: Listed) -> (Thing, Made) {
    let refs = listed.labels.iter().filter_map(|(label, value)| {
        let kind = label.strip_prefix("containerd.io/gc.ref.")?;
        if kind.starts_with("content") {
            return Some(Thing::Blob(value.clone()));
        }
        kind.starts_with(&format!("snapshot.{SNAPSHOTTER}")).then(|| Thing::Snapshot(value.clone()))
    });
    let structure = (!listed.parent.is_empty()).then_some(Thing::Snapshot(listed.parent));
    let (refs, committed) = (refs.collect(), listed.committed);
    let made = Made { structure, refs, committed, ..Made::default() };
    (listed.thing, made)
}
