//! Layers of an archive that are to be kept packed.

use std::fs::File;
use std::io::{self, Write};

use berth_ids::Labels;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::runtime::Handle;

use super::store::Store;
use super::{Error, Result, labels};
use crate::content::{Expected, Writer};
use crate::registry::{Descriptor, media};

/// How many bytes are packed before they are written.
const CHUNK: usize = 256 << 10;

impl Store {
    /// A plain layer packed with gzip, as a blob of its own. The plain one is left to the collector.
    pub(super) async fn compressed(&self, layer: &Descriptor) -> Result<Descriptor> {
        let key = format!("compress-{}-{}", uuid::Uuid::new_v4().simple(), layer.digest);
        let writer = self.writer_by(&key, Expected::default()).await?;
        let writer = writer.ok_or(Error::Worker { step: "open an ingest" })?;
        let (file, handle) = (self.open(&layer.digest).await?.0, Handle::current());
        let packed = tokio::task::spawn_blocking(move || pack(file, Ingest { writer, handle }));
        let mut writer = packed.await.map_err(|_| Error::Worker { step: "pack layer" })??;
        let (size, plain) = (writer.offset(), layer.digest.to_string());
        let uncompressed = Labels::from([(labels::UNCOMPRESSED.to_owned(), plain)]);
        let digest = match writer.commit(size, None, uncompressed.clone()).await {
            Ok(info) => info.digest,
            Err(crate::Error::ContentExists(digest)) => {
                self.label(&digest, uncompressed).await?;
                digest
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Descriptor::new(media::DOCKER_LAYER_GZIP, digest, size))
    }
}

fn pack(mut plain: File, ingest: Ingest) -> Result<Writer> {
    let failed = |error: io::Error| match error.downcast::<crate::Error>() {
        Ok(own) => Error::Store(own),
        Err(error) => Error::Archive(crate::archive::Error::Read(error)),
    };
    let buffer = io::BufWriter::with_capacity(CHUNK, ingest);
    let mut gzip = GzEncoder::new(buffer, Compression::default());
    io::copy(&mut plain, &mut gzip).map_err(failed)?;
    let buffer = gzip.finish().map_err(failed)?;
    let ingest = buffer.into_inner().map_err(|error| failed(error.into_error()))?;
    Ok(ingest.writer)
}

/// An ingest, written to from a blocking thread.
struct Ingest {
    writer: Writer,
    handle: Handle,
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(Bytes::copy_from_slice(bytes));
        self.handle.block_on(written).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
