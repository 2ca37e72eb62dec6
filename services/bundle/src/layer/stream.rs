//! The uncompressed bytes of a layer, inflated and hashed on a thread of their own.
//!
//! A layer's cost is inflating plus hashing on the one hand and system calls on the other, in
//! about equal parts. Two threads do both at once; chunks of 256 KiB pass through a bounded
//! channel and come back empty, so a layer takes about 1.5 MiB of memory whatever its size. The
//! extracting side writes straight from the chunk: the only copies are the decompressor's own
//! output and the kernel's into the page cache.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use aws_lc_rs::digest::{Context, SHA256};
use berth_ids::{Algorithm, Digest};

use super::decompress::Decoder;

const CHUNK: usize = 256 << 10;
const CHUNKS_UNDER_WAY: usize = 4;

/// What is known when all was read.
pub(super) struct Summary {
    /// Digest of the uncompressed bytes.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

/// The reading side: [`BufRead`] over the chunks.
pub(super) struct Chunks {
    filled: Receiver<io::Result<Vec<u8>>>,
    emptied: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
}

/// The inflating thread; its value is none when it was told to stop or failed.
pub(super) type Feeder<'scope> = ScopedJoinHandle<'scope, Option<Summary>>;

/// Starts inflating `input`, refusing more than `bound` uncompressed bytes.
pub(super) fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    input: impl Read + Send + 'env,
    bound: u64,
) -> io::Result<(Chunks, Feeder<'scope>)> {
    let (filled_in, filled) = sync_channel(CHUNKS_UNDER_WAY);
    let (emptied, emptied_out) = channel();
    let work = move || match feed(input, bound, &filled_in, &emptied_out) {
        Ok(summary) => summary,
        Err(error) => {
            // If nobody listens any more, extraction has failed first and tells why.
            let _ = filled_in.send(Err(error));
            None
        }
    };
    let feeder =
        std::thread::Builder::new().name("inflate".to_owned()).spawn_scoped(scope, work)?;
    Ok((Chunks { filled, emptied, current: Vec::new(), position: 0 }, feeder))
}

fn feed(
    input: impl Read,
    bound: u64,
    filled: &SyncSender<io::Result<Vec<u8>>>,
    emptied: &Receiver<Vec<u8>>,
) -> io::Result<Option<Summary>> {
    let mut decoder = Decoder::new(BufReader::with_capacity(CHUNK, input))?;
    let mut hash = Context::new(&SHA256);
    let mut size: u64 = 0;
    loop {
        let mut chunk = emptied.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let length = fill(&mut decoder, &mut chunk)?;
        if length == 0 {
            let digest = Digest::of_hash(Algorithm::Sha256, hash.finish().as_ref())
                .map_err(io::Error::other)?;
            return Ok(Some(Summary { digest, size }));
        }
        size += length as u64;
        if size > bound {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("more than {bound} uncompressed bytes"),
            ));
        }
        chunk.truncate(length);
        hash.update(&chunk);
        if filled.send(Ok(chunk)).is_err() {
            return Ok(None);
        }
    }
}

fn fill(input: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < chunk.len() {
        match input.read(&mut chunk[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() {
            let empty = std::mem::take(&mut self.current);
            self.position = 0;
            if empty.capacity() > 0 {
                // The feeder may have ended; the chunk is freed then.
                let _ = self.emptied.send(empty);
            }
            // A closed channel is the end of the input.
            if let Ok(chunk) = self.filled.recv() {
                self.current = chunk?;
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, length: usize) {
        self.position += length;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}
