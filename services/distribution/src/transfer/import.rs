//! Images from an archive.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use berth_ids::{Digest, Labels};
use berth_recent as recent;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::annotations::{IMAGE_NAME, REF_NAME};
use super::fetch::Source;
use super::names;
use super::store::Store;
use super::walk::Walk;
use super::{Caller, Error, ImageStore, Result, Transfers, labels};
use crate::archive::{self, Blobs, Contents, DockerImage, json};
use crate::content::hash::sha256;
use crate::content::{Expected, Writer};
use crate::counts;
use crate::registry::{
    Config, Descriptor, Document, Index, MAX_CONFIG, MAX_MANIFEST, Manifest, Reference, media,
};

/// How much is read from the archive at once.
const CHUNK: usize = 256 << 10;

impl Transfers {
    /// Imports an archive and makes its images known under the names wanted. With `compress`, plain
    /// layers of docker's archives are kept packed.
    ///
    /// # Errors
    /// Any of [`Error`]; nothing half-done becomes visible.
    pub async fn import(
        &self,
        caller: &Caller,
        archive: impl Read + Send + 'static,
        compress: bool,
        to: &ImageStore,
    ) -> Result<()> {
        let import = self.leased(caller, |store| async move {
            caller.progress.step("Importing");
            let index = recent::stage("read", "").of(store.import(archive, compress)).await?;
            let walk = Walk { transfers: self, caller, store, source: Source::Here, want: to };
            let parents = Some(to.name.clone()).filter(|name| !name.is_empty());
            walk.bring(&index, parents.into_iter().collect(), 0).await?;
            walk.save_imported(&index).await?;
            caller.progress.step("Completed import");
            Ok(())
        });
        let import = counts::IMPORTS.of(import);
        recent::operation("import", caller.namespace.as_str(), &to.name, import).await
    }
}

impl Walk<'_> {
    /// Names the archive's index if a name was given for it, and its entries by their annotations.
    async fn save_imported(&self, index: &Descriptor) -> Result<()> {
        let bytes = self.store.read(&index.digest, MAX_MANIFEST).await?;
        let Document::Index(entries) = Document::parse(index, &bytes)? else { return Ok(()) };
        let mut named = match names::of_target(self.want, index) {
            Ok(names) => vec![(names, index.clone())],
            Err(Error::NoName) => Vec::new(),
            Err(error) => return Err(error),
        };
        named.extend(entries.manifests.into_iter().map(|e| (names::of_entry(self.want, &e), e)));
        if named.iter().all(|(names, _)| names.is_empty()) {
            // No failure to containerd: a prefix may be meant to leave all out.
            tracing::info!(index = %index.digest, "no image of the archive has a name that is wanted");
        }
        for (names, target) in named {
            self.save(names, &target).await?;
        }
        Ok(())
    }
}

impl Store {
    /// Stores an archive's blobs and answers its index.
    async fn import(
        &self,
        archive: impl Read + Send + 'static,
        compress: bool,
    ) -> Result<Descriptor> {
        let (store, handle) = (self.clone(), Handle::current());
        let read = tokio::task::spawn_blocking(move || {
            let mut blobs = Stored { store, handle };
            let plain = decompressed(archive).map_err(archive::Error::Read)?;
            archive::read(plain, &mut blobs)
        });
        match read.await.map_err(|_| Error::Worker { step: "read archive" })?? {
            Contents::Oci(index) => Ok(index),
            Contents::Docker(images, files) => self.docker_index(&images, &files, compress).await,
        }
    }

    /// Makes manifests and an index for docker's images.
    async fn docker_index(
        &self,
        images: &[DockerImage],
        files: &BTreeMap<String, Descriptor>,
        compress: bool,
    ) -> Result<Descriptor> {
        let mut manifests = Vec::new();
        for image in images {
            let manifest = self.docker_manifest(image, files, compress).await?;
            let names = image.repo_tags.clone().unwrap_or_default();
            if names.is_empty() {
                manifests.push(manifest.clone());
            }
            for name in names {
                let name = Reference::normalize(&name)?;
                let object = name.tag().map_or(name.to_string(), str::to_owned);
                let mut entry = manifest.clone();
                entry.annotations.insert(IMAGE_NAME.to_owned(), name.to_string());
                entry.annotations.insert(REF_NAME.to_owned(), object);
                manifests.push(entry);
            }
        }
        let index = Index { schema_version: 2, media_type: None, manifests };
        self.put_document(media::OCI_INDEX, &Document::Index(index)).await
    }

    async fn docker_manifest(
        &self,
        image: &DockerImage,
        files: &BTreeMap<String, Descriptor>,
        compress: bool,
    ) -> Result<Descriptor> {
        let file = |name: &String| {
            let missing = || archive::Error::Format(format!("{name} is listed but not in it"));
            files.get(name).cloned().ok_or_else(missing)
        };
        let mut config = file(&image.config)?;
        config.media_type = media::DOCKER_CONFIG.to_owned();
        let parsed = Config::parse(&config.digest, &self.read(&config.digest, MAX_CONFIG).await?)?;
        let plain = image.layers.iter().map(file).collect::<Result<Vec<_>, _>>()?;
        let packed = self.packed(&plain).await?;
        let mut layers = Vec::new();
        for plain in plain {
            let mut layer = packed.get(&plain.digest).cloned().unwrap_or(plain);
            layer.media_type = self.layer_type(&layer).await?;
            if compress && layer.media_type == media::DOCKER_LAYER {
                layer = self.compressed(&layer).await?;
            }
            layers.push(layer);
        }
        let media_type = media::DOCKER_MANIFEST;
        let manifest =
            Manifest { schema_version: 2, media_type: Some(media_type.to_owned()), config, layers };
        let mut own =
            self.put_document(media_type, &Document::Manifest(Box::new(manifest))).await?;
        if !parsed.platform.os.is_empty() {
            own.platform = Some(parsed.platform);
        }
        Ok(own)
    }

    /// Packed layers that are here, by the digests of their plain tars: what came from a registry
    /// is not kept a second time.
    async fn packed(&self, layers: &[Descriptor]) -> Result<BTreeMap<Digest, Descriptor>> {
        let mut packed = BTreeMap::new();
        for info in self.labelled(labels::UNCOMPRESSED).await? {
            let label = info.labels.get(labels::UNCOMPRESSED);
            let Some(plain) = layers.iter().find(|layer| label == Some(&layer.digest.to_string()))
            else {
                continue;
            };
            if plain.digest != info.digest && self.claim(&info.digest).await?.is_some() {
                let found = Descriptor::new("", info.digest, info.size);
                packed.insert(plain.digest.clone(), found);
            }
        }
        Ok(packed)
    }

    /// Docker's archives do not say how their layers are packed; their first bytes do.
    async fn layer_type(&self, layer: &Descriptor) -> Result<String> {
        let (file, _) = self.open(&layer.digest).await?;
        let mut first = Vec::new();
        file.take(4).read_to_end(&mut first).map_err(archive::Error::Read)?;
        Ok(match packing(&first) {
            Packing::Gzip => media::DOCKER_LAYER_GZIP.to_owned(),
            Packing::Zstd => format!("{}.zstd", media::DOCKER_LAYER),
            Packing::Plain => media::DOCKER_LAYER.to_owned(),
        })
    }

    async fn put_document(&self, media_type: &str, document: &Document) -> Result<Descriptor> {
        let bytes = Bytes::from(match document {
            Document::Index(index) => json(index)?,
            Document::Manifest(manifest) => json(manifest)?,
        });
        let descriptor = Descriptor::new(media_type, sha256(&bytes), bytes.len() as u64);
        self.put(&descriptor, bytes, labels::references(document)).await?;
        Ok(descriptor)
    }
}

/// Stores blobs from a blocking thread.
struct Stored {
    store: Store,
    handle: Handle,
}

impl Blobs for Stored {
    type Error = Error;

    fn store(&mut self, name: &str, size: u64, reader: &mut dyn Read) -> Result<Descriptor> {
        // Two archives may have different files of one name on their way at once.
        let key = format!("import-{}-{name}", uuid::Uuid::new_v4().simple());
        let expected = Expected { size, ..Expected::default() };
        let writer = self.handle.block_on(self.store.writer_by(&key, expected))?;
        let mut writer = writer.ok_or(Error::Worker { step: "open an ingest" })?;
        let mut left = size;
        while left > 0 {
            let length = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            let mut chunk = vec![0; length];
            reader.read_exact(&mut chunk).map_err(archive::Error::Read)?;
            self.handle.block_on(writer.write(Bytes::from(chunk)))?;
            left -= length as u64;
        }
        let digest = self.handle.block_on(self.finish(writer, size))?;
        Ok(Descriptor::new("", digest, size))
    }
}

impl Stored {
    async fn finish(&self, mut writer: Writer, size: u64) -> Result<Digest> {
        match writer.commit(size, None, Labels::new()).await {
            Ok(info) => Ok(info.digest),
            Err(crate::Error::ContentExists(digest)) => Ok(digest),
            Err(error) => Err(error.into()),
        }
    }
}

enum Packing {
    Plain,
    Gzip,
    Zstd,
}

fn packing(first: &[u8]) -> Packing {
    if first.starts_with(&[0x1f, 0x8b]) {
        Packing::Gzip
    } else if first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Packing::Zstd
    } else {
        Packing::Plain
    }
}

/// The stream itself may be packed.
fn decompressed(archive: impl Read + Send + 'static) -> io::Result<Box<dyn Read>> {
    let mut reader = BufReader::with_capacity(CHUNK, archive);
    let packing = packing(io::BufRead::fill_buf(&mut reader)?);
    Ok(match packing {
        Packing::Plain => Box::new(reader),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
    })
}
