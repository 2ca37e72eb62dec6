//! Images to an archive.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{Read, Write};

use berth_ids::Digest;
use berth_recent as recent;
use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Serialize;

use super::annotations::{IMAGE_NAME, REF_NAME};
use super::choose::choose;
use super::store::Store;
use super::walk::check_depth;
use super::{Caller, Error, Export, ImageStore, Result, Transfers, platform};
use crate::archive::{Entry, Source, copy, json, write};
use crate::counts;
use crate::registry::{Descriptor, Document, Index, Manifest, Reference, media};

impl Transfers {
    /// Exports images as an OCI layout that docker can load as well.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn export(
        &self,
        caller: &Caller,
        from: &ImageStore,
        how: Export,
        to: impl Write + Send + 'static,
    ) -> Result<()> {
        let export = self.leased(caller, |store| async move {
            caller.progress.step("Exporting");
            let entries = Layout::new(&store, &how).entries(&names(from)?).await?;
            let written = tokio::task::spawn_blocking(move || write(entries, to));
            let written = async {
                Ok::<_, Error>(written.await.map_err(|_| Error::Worker { step: "write archive" })??)
            };
            recent::stage("write", "").of(written).await?;
            caller.progress.step("Completed export");
            Ok(())
        });
        let export = counts::EXPORTS.of(export);
        recent::operation("export", caller.namespace.as_str(), &from.name, export).await
    }
}

impl Transfers {
    /// Passes an archive on as it is.
    ///
    /// # Errors
    /// [`Error::Archive`].
    pub async fn echo(
        &self,
        from: impl Read + Send + 'static,
        to: impl Write + Send + 'static,
    ) -> Result<()> {
        let passed = tokio::task::spawn_blocking(move || copy(from, to));
        Ok(passed.await.map_err(|_| Error::Worker { step: "pass an archive on" })??)
    }
}

fn names(from: &ImageStore) -> Result<Vec<&str>> {
    if from.extra.iter().any(|extra| extra.is_prefix) {
        return Err(Error::Unsupported("prefix lookup on export not implemented"));
    }
    let own = Some(from.name.as_str()).filter(|name| !name.is_empty());
    let names: Vec<_> = own.into_iter().chain(from.extra.iter().map(|e| e.name.as_str())).collect();
    if names.is_empty() { Err(Error::NoName) } else { Ok(names) }
}

/// The file that says that this is a layout.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    image_layout_version: &'static str,
}

/// One image of docker's list.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

struct Layout<'a> {
    store: &'a Store,
    how: &'a Export,
    entries: Vec<Entry>,
    algorithms: BTreeSet<&'static str>,
    /// Blobs that have their entry.
    blobs: HashSet<Digest>,
    /// Documents that are there with all below them.
    whole: HashSet<Digest>,
    /// Manifests that docker is told of, with the names of images.
    docker: BTreeMap<Digest, (Manifest, Vec<String>)>,
}

impl<'a> Layout<'a> {
    fn new(store: &'a Store, how: &'a Export) -> Self {
        let (entries, algorithms, blobs, whole, docker) = Default::default();
        Self { store, how, entries, algorithms, blobs, whole, docker }
    }

    async fn entries(mut self, names: &[&str]) -> Result<Vec<Entry>> {
        let mut listed = Vec::new();
        for name in names {
            let mut target = self.store.image(name)?;
            self.image(&target, name).await?;
            self.annotate(&mut target, name)?;
            listed.push(target);
        }
        self.text("oci-layout", 0o444, json(&Version { image_layout_version: "1.0.0" })?);
        let media_type = Some(media::OCI_INDEX.to_owned());
        let index = Index { schema_version: 2, media_type, manifests: listed };
        self.text("index.json", 0o644, json(&index)?);
        if !self.how.skip_docker_manifest && !self.docker.is_empty() {
            let list = self.docker_list()?;
            self.text("manifest.json", 0o644, json(&list)?);
        }
        let mut folders = vec!["blobs/".to_owned()];
        folders.extend(self.algorithms.iter().map(|name| format!("blobs/{name}/")));
        self.entries.extend(folders.into_iter().map(|name| Entry {
            name,
            mode: 0o755,
            size: 0,
            source: Source::Folder,
        }));
        Ok(self.entries)
    }

    /// The entry in the layout's index: named, and with where it came from.
    fn annotate(&self, target: &mut Descriptor, name: &str) -> Result<()> {
        let info = self.store.find(&target.digest)?;
        let labels = info.map(|info| info.labels).unwrap_or_default();
        let sources =
            labels.into_iter().filter(|(k, _)| k.starts_with("containerd.io/distribution.source"));
        target.annotations.extend(sources);
        // The tag alone where there is one: the specification wants no more.
        let parsed = Reference::parse(name).ok();
        let short = parsed.as_ref().and_then(Reference::tag).unwrap_or(name).to_owned();
        target.annotations.insert(IMAGE_NAME.to_owned(), name.to_owned());
        target.annotations.insert(REF_NAME.to_owned(), short);
        Ok(())
    }

    async fn image(&mut self, target: &Descriptor, name: &str) -> Result<()> {
        match self.store.document(target).await? {
            Document::Manifest(manifest) => {
                self.tree(target, 0).await?;
                self.tell_docker(target, *manifest, name);
            }
            Document::Index(index) => {
                self.blob(target).await?;
                let platforms = match self.how.platforms.as_slice() {
                    [] => vec![platform::host()],
                    given => given.to_vec(),
                };
                let want = ImageStore { platforms, ..ImageStore::default() };
                let chosen = match choose(&want, target, &index) {
                    Err(Error::NoPlatform { .. }) if self.how.all_platforms => Vec::new(),
                    other => other?,
                };
                let wanted = if self.how.all_platforms { &index.manifests } else { &chosen };
                for entry in wanted {
                    self.tree(entry, 1).await?;
                }
                let first = chosen.iter().find(|entry| media::is_manifest(&entry.media_type));
                if let Some(entry) = first
                    && let Document::Manifest(manifest) = self.store.document(entry).await?
                {
                    self.tell_docker(entry, *manifest, name);
                }
            }
        }
        Ok(())
    }

    fn tell_docker(&mut self, own: &Descriptor, manifest: Manifest, name: &str) {
        let (_, names) = self.docker.entry(own.digest.clone()).or_insert((manifest, Vec::new()));
        names.push(name.to_owned());
    }

    /// The object and all below it.
    fn tree<'s>(
        &'s mut self,
        descriptor: &'s Descriptor,
        depth: usize,
    ) -> BoxFuture<'s, Result<()>> {
        Box::pin(async move {
            if !self.blob(descriptor).await? {
                return Ok(());
            }
            let media_type = &descriptor.media_type;
            if !media::is_index(media_type) && !media::is_manifest(media_type) {
                return Ok(());
            }
            if !self.whole.insert(descriptor.digest.clone()) {
                return Ok(());
            }
            match self.store.document(descriptor).await? {
                Document::Index(index) => {
                    check_depth(descriptor, depth)?;
                    for entry in &index.manifests {
                        self.tree(entry, depth + 1).await?;
                    }
                }
                Document::Manifest(manifest) => {
                    self.blob(&manifest.config).await?;
                    for layer in &manifest.layers {
                        self.blob(layer).await?;
                    }
                }
            }
            Ok(())
        })
    }

    /// `false`: it was left out.
    async fn blob(&mut self, descriptor: &Descriptor) -> Result<bool> {
        if self.how.skip_non_distributable && media::is_non_distributable(&descriptor.media_type) {
            return Ok(false);
        }
        let digest = descriptor.digest.clone();
        if !self.blobs.insert(digest.clone()) {
            return Ok(true);
        }
        let (file, size) = self.store.open(&digest).await?;
        self.algorithms.insert(digest.algorithm().name());
        let (name, source) = (path(&digest), Source::Blob(digest, file));
        self.entries.push(Entry { name, mode: 0o444, size, source });
        Ok(true)
    }

    fn text(&mut self, name: &str, mode: u32, text: String) {
        let size = text.len() as u64;
        let source = Source::Bytes(Bytes::from(text));
        self.entries.push(Entry { name: name.to_owned(), mode, size, source });
    }

    fn docker_list(&self) -> Result<Vec<DockerImage>> {
        let images = self.docker.values().map(|(manifest, names)| {
            let names = names.iter().map(|name| Ok(Reference::normalize(name)?.familiar()));
            Ok(DockerImage {
                config: path(&manifest.config.digest),
                repo_tags: names.collect::<Result<_>>()?,
                layers: manifest.layers.iter().map(|layer| path(&layer.digest)).collect(),
            })
        });
        images.collect()
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}
