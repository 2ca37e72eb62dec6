//! From the tar's bytes to the blob's, hashing both, in chunks for whoever stores them.

use std::io::{self, Write};

use aws_lc_rs::digest::{Context, SHA256};
use berth_ids::{Algorithm, Digest};
use bytes::Bytes;
use flate2::write::GzEncoder;
use tokio::sync::mpsc::Sender;

use crate::Error;
use crate::layer::Compression;

const CHUNK: usize = 1 << 20;

/// The media type that is made when none is asked for.
pub(crate) const DEFAULT: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// How a media type wants a layer compressed.
pub(super) fn of_media_type(media_type: &str) -> Result<Compression, Error> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar"
        | crate::differs::CHECKPOINT => Ok(Compression::Plain),
        DEFAULT | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        other => Err(Error::DiffType(other.to_owned())),
    }
}

/// Takes the tar, gives the blob.
pub(super) struct Compressor {
    hash: Context,
    encoder: Encoder,
}

enum Encoder {
    Plain(Chunked),
    Gzip(Box<GzEncoder<Chunked>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Chunked>>),
}

/// What came out.
pub(super) struct Digests {
    /// Of the tar.
    pub uncompressed: Digest,
    /// Of the blob.
    pub compressed: Digest,
    /// Bytes of the blob.
    pub size: u64,
}

impl Compressor {
    pub(super) fn new(compression: Compression, chunks: Sender<Bytes>) -> io::Result<Self> {
        let output = Chunked { chunks, pending: Vec::new(), hash: Context::new(&SHA256), size: 0 };
        let encoder = match compression {
            Compression::Plain => Encoder::Plain(output),
            Compression::Gzip => {
                Encoder::Gzip(Box::new(GzEncoder::new(output, flate2::Compression::default())))
            }
            Compression::Zstd => {
                Encoder::Zstd(Box::new(zstd::stream::write::Encoder::new(output, 0)?))
            }
        };
        Ok(Self { hash: Context::new(&SHA256), encoder })
    }

    pub(super) fn finish(self) -> io::Result<Digests> {
        let mut output = match self.encoder {
            Encoder::Plain(output) => output,
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Zstd(encoder) => encoder.finish()?,
        };
        output.send()?;
        let digest = |hash: Context| {
            Digest::of_hash(Algorithm::Sha256, hash.finish().as_ref()).map_err(io::Error::other)
        };
        let (uncompressed, compressed) = (digest(self.hash)?, digest(output.hash)?);
        Ok(Digests { uncompressed, compressed, size: output.size })
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.encoder {
            Encoder::Plain(output) => output.write(bytes)?,
            Encoder::Gzip(encoder) => encoder.write(bytes)?,
            Encoder::Zstd(encoder) => encoder.write(bytes)?,
        };
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The blob's bytes, gathered into chunks.
struct Chunked {
    chunks: Sender<Bytes>,
    pending: Vec<u8>,
    hash: Context,
    size: u64,
}

impl Chunked {
    fn send(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.pending));
        self.hash.update(&chunk);
        self.size += chunk.len() as u64;
        let stopped = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody stores the layer");
        self.chunks.blocking_send(chunk).map_err(stopped)
    }
}

impl Write for Chunked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
