//! Layers that are images: they are put where the snapshotter looks for a snapshot's own.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use aws_lc_rs::digest::{Context, SHA256};
use berth_ids::{Algorithm, Digest};
use berth_mount::Mount;

use super::{BLOB, Packing, check, layer_directory};
use crate::Error;
use crate::layer::{Applied, Limits};

/// What is read at once.
const CHUNK: usize = 256 << 10;

/// Puts an image into the active snapshot that `mounts` are of.
///
/// # Errors
/// [`Error::Unsupported`] for other mounts, and as [`receive_into`].
pub(crate) fn receive(
    input: impl Read,
    packing: Packing,
    mounts: &[Mount],
    roots: &[PathBuf],
    layer: &str,
    limits: &Limits,
) -> Result<Applied, Error> {
    let directory = layer_directory(mounts, roots)?;
    receive_into(input, packing, &directory, layer, limits)
}

/// Puts an image into a snapshot's directory, durably. It gets its name when it is whole.
///
/// # Errors
/// [`Error::Image`] for what is none, [`Error::Bound`], [`Error::File`].
pub(crate) fn receive_into(
    input: impl Read,
    packing: Packing,
    directory: &Path,
    layer: &str,
    limits: &Limits,
) -> Result<Applied, Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unfinished = directory.join(format!("{BLOB}.{}-{number}", std::process::id()));
    let received = write(input, packing, &unfinished, layer, limits).and_then(|applied| {
        let named = fs_err::rename(&unfinished, directory.join(BLOB)).and_then(|()| {
            let directory = File::open(directory)?;
            directory.sync_all()
        });
        named.map(|()| applied).map_err(failed("name", &unfinished))
    });
    if received.is_err() {
        // Whoever throws the snapshot away takes what is left with it.
        let _ = fs_err::remove_file(&unfinished);
    }
    received
}

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File { step, path: path.to_owned(), source }
}

fn write(
    input: impl Read,
    packing: Packing,
    path: &Path,
    layer: &str,
    limits: &Limits,
) -> Result<Applied, Error> {
    let input = BufReader::with_capacity(CHUNK, input);
    let mut file = File::options().read(true).write(true).create_new(true).open(path);
    let file =
        file.as_mut().map_err(|error| failed("make", path)(io::Error::from(error.kind())))?;
    let (digest, size) = match packing {
        Packing::Plain => copy(input, file, path, layer, limits.bytes)?,
        Packing::Zstd => {
            let input = zstd::stream::read::Decoder::with_buffer(input);
            copy(input.map_err(failed("inflate", path))?, file, path, layer, limits.bytes)?
        }
    };
    check(file, path, layer)?;
    let began = Instant::now();
    file.sync_all().map_err(failed("make durable", path))?;
    let synced = began.elapsed();
    Ok(Applied { diff_id: digest, size, entries: 0, implied: Vec::new(), synced })
}

/// Copies and hashes at most `bound` bytes.
fn copy(
    mut input: impl Read,
    file: &mut File,
    path: &Path,
    layer: &str,
    bound: u64,
) -> Result<(Digest, u64), Error> {
    let mut hash = Context::new(&SHA256);
    let (mut chunk, mut size) = (vec![0; CHUNK], 0_u64);
    loop {
        let length = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Error::Input { layer: layer.to_owned(), source }),
        };
        size += length as u64;
        if size > bound {
            let (layer, what) = (layer.to_owned(), "bytes of an image");
            return Err(Error::Bound { layer, entry: String::new(), bound, what });
        }
        hash.update(&chunk[..length]);
        file.write_all(&chunk[..length]).map_err(failed("write", path))?;
    }
    let digest = Digest::of_hash(Algorithm::Sha256, hash.finish().as_ref())?;
    Ok((digest, size))
}
