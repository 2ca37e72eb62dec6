//! Applying a layer: a tar archive, maybe compressed, extracted into a directory.
//!
//! Owns: which entries are allowed, how each is made, what a deletion becomes, the digest of the
//! uncompressed bytes. Must not know: snapshots, namespaces, where the bytes come from.
//!
//! # Cost
//!
//! Of a regular file: `openat`, one `write` per 256 KiB, `utimensat`, `close`; `fchown` unless it
//! belongs to root in a directory of root's group; `fchmod` only for bits that the umask or
//! kernel takes. Of a directory: `mkdirat`, and at the end `openat2`, `fchown`, `fchmod`,
//! `utimensat`, `close`. Per change of directory: `openat2`, `fstat`, `close`. Each byte is copied
//! out of the decompressor once and into the page cache once. One `syncfs` at the end.
//!
//! # Threads and memory
//!
//! Of one layer being applied: two threads (one of the blocking pool extracts, `inflate` inflates
//! and hashes) and about 1.5 MiB of buffers: 256 KiB of input, up to five chunks of 256 KiB, the
//! decoder's window (32 KiB of gzip; of zstd what the frame asks for, 8 MiB for usual levels and
//! 128 MiB at most). What is known until the end: a path and attributes per directory of the
//! layer, 32 bytes per entry where the layers below are in the same directory; both together are
//! bounded by [`Limits::memory`]. All of it is freed when the layer is done or has failed.

mod attributes;
mod decompress;
mod extract;
pub mod implied;
mod limits;
mod path;
pub(crate) mod root;
mod stream;
pub mod tar;
mod whiteout;

pub use decompress::{Compression, Decoder, TAR, is_layer};
pub use limits::Limits;
pub use whiteout::Whiteouts;

use std::io::{BufRead, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use berth_ids::Digest;
use berth_store::failpoint;

use crate::{Error, durable};
use extract::Extraction;

/// Where and how to apply a layer.
pub struct Target<'a> {
    /// What messages call the layer, its digest if that is known.
    pub layer: &'a str,
    /// The directory to extract into.
    pub root: &'a Path,
    /// What deletions become.
    pub whiteouts: Whiteouts,
    /// What the layer may ask for.
    pub limits: &'a Limits,
}

/// What applying a layer has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Digest of the uncompressed tar, what follows its end included.
    pub diff_id: Digest,
    /// Bytes of the uncompressed tar.
    pub size: u64,
    /// Entries extracted.
    pub entries: u64,
    /// Directories that had no entry of their own.
    pub implied: Vec<Vec<u8>>,
    /// How long it took to make it durable, if that was done here.
    pub synced: Duration,
}

/// Extracts `input` and makes the result durable.
///
/// # Errors
/// What is wrong with the layer, or which step failed on which entry. The target then holds a part
/// of the layer and is to be thrown away.
pub fn apply(input: impl Read + Send, target: &Target<'_>) -> Result<Applied, Error> {
    let applied = extract(input, target)?;
    failpoint::file("layer", "extracted");
    let began = Instant::now();
    durable::file_system(target.root)?;
    failpoint::file("layer", "flushed");
    Ok(Applied { synced: began.elapsed(), ..applied })
}

/// The same without making it durable, for what is to become something else.
///
/// # Errors
/// As [`apply`].
pub(crate) fn extract(input: impl Read + Send, target: &Target<'_>) -> Result<Applied, Error> {
    let limits = target.limits;
    std::thread::scope(|scope| {
        let (chunks, feeder) = stream::start(scope, input, limits.bytes).map_err(|source| {
            Error::File { step: "start to inflate into", path: target.root.into(), source }
        })?;
        let mut extraction = Extraction::new(target)?;
        let mut archive = tar::TarReader::new(chunks, limits);
        let extracted = extraction.run(&mut archive);
        // Dropping the chunks, here or on return, stops the feeder.
        let mut chunks = archive.into_inner();
        extracted?;
        loop {
            let length =
                chunks.fill_buf().map_err(|error| extraction.malformed(error.into()))?.len();
            if length == 0 {
                break;
            }
            chunks.consume(length);
        }
        let summary = feeder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let summary = summary.ok_or_else(|| extraction.malformed(tar::Failure::Truncated))?;
        let (entries, implied) = extraction.finish()?;
        let synced = Duration::ZERO;
        Ok(Applied { diff_id: summary.digest, size: summary.size, entries, implied, synced })
    })
}
