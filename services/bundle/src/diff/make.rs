//! Making a layer from what two lists of mounts show.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use berth_ids::{Digest, Labels};
use berth_mount::{Mount, TempMount};
use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use super::apply::{overlay, temporary_name};
use super::compress::{Compressor, DEFAULT, Digests, of_media_type};
use super::open::open;
use super::upper::is_whole;
use super::walk::Walk;
use crate::Error;
use crate::layer::Compression;
use crate::mounts::Transient;
use crate::snapshots::blocking;

/// Tells the digest of the uncompressed tar on a compressed blob.
pub(crate) const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// A layer to be made.
pub struct Making {
    /// What was there before.
    pub left: Vec<Mount>,
    /// What is there now.
    pub right: Vec<Mount>,
    /// What the layer shall be; empty for a gzip-compressed OCI layer.
    pub media_type: String,
    /// Labels for the blob.
    pub labels: Labels,
    /// No later modification time than this is written.
    pub latest: Option<SystemTime>,
    /// Where temporary mounts may be made.
    pub temporary: PathBuf,
    /// Below these, mounts may have files and directories made.
    pub roots: Vec<PathBuf>,
}

/// A layer that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
    /// Labels for the blob: those asked for and, on a compressed one, the digest of its tar.
    pub labels: Labels,
}

/// Makes the layer, its bytes into `chunks`.
///
/// # Errors
/// [`Error::DiffType`], [`Error::Mount`], [`Error::File`].
pub async fn make(making: Making, chunks: Sender<Bytes>) -> Result<Made, Error> {
    let media_type =
        if making.media_type.is_empty() { DEFAULT } else { &*making.media_type }.to_owned();
    let compression = of_media_type(&media_type)?;
    if making.left.iter().chain(&making.right).any(|mount| mount.kind.starts_with("mkfs/")) {
        // Mounted twice it would be destroyed.
        let (what, name) = ("mounts", "mkfs/".to_owned());
        let reason = "a container may have the writable layer's file system in use";
        return Err(Error::Unsupported { what, name, reason });
    }
    blocking("make layer", move || {
        let digests = write(&making, compression, chunks)?;
        let mut labels = making.labels;
        if compression != Compression::Plain {
            labels.insert(UNCOMPRESSED.to_owned(), digests.uncompressed.to_string());
        }
        Ok(Made { media_type, digest: digests.compressed, size: digests.size, labels })
    })
    .await
}

fn write(
    making: &Making,
    compression: Compression,
    chunks: Sender<Bytes>,
) -> Result<Digests, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { step: "make a layer of", path, source }
    };
    let output = Compressor::new(compression, chunks).map_err(failed(&making.temporary))?;
    let mut walk = Walk::new(output, making.latest.map(seconds));
    let upper = match upper_over(&making.left, &making.right) {
        Some(upper) => {
            let fd = open(upper).map_err(failed(upper))?;
            is_whole(&fd).map_err(failed(upper))?.then_some((upper, fd))
        }
        None => None,
    };
    let place = match upper {
        Some((upper, fd)) => {
            walk.upper(&fd, b"").map_err(failed(upper))?;
            upper.to_owned()
        }
        None => {
            let left = Shown::new(&making.left, making)?;
            let right = Shown::new(&making.right, making)?;
            let before = left.path().map(open).transpose();
            let before = before.map_err(failed(&making.temporary))?;
            let Some(path) = right.path().map(Path::to_owned) else {
                let reason = "there is nothing to make a layer of";
                return Err(Error::Argument { what: "mounts", value: String::new(), reason });
            };
            open(&path)
                .and_then(|fd| walk.all_changes(before.as_ref(), &fd))
                .map_err(failed(&path))?;
            path
        }
    };
    walk.finish().and_then(Compressor::finish).map_err(failed(&place))
}

/// Whole seconds since 1970, those before it negative.
fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let whole = before.as_secs() + u64::from(before.subsec_nanos() > 0);
            i64::try_from(whole).map_or(i64::MIN, |whole| -whole)
        }
    }
}

/// Mounts shown read-only for a while; nothing for no mounts.
struct Shown(Option<(TempMount, Transient)>);

impl Shown {
    fn new(mounts: &[Mount], making: &Making) -> Result<Self, Error> {
        if mounts.is_empty() {
            return Ok(Self(None));
        }
        let here = making.temporary.join(temporary_name());
        let transient = Transient::new(mounts, here, &making.roots)?;
        let mounts: Vec<Mount> = transient.left().iter().map(Mount::read_only).collect();
        // In this order: what is on top is undone first.
        let shown = TempMount::new(&mounts, &making.temporary, &temporary_name())?;
        Ok(Self(Some((shown, transient))))
    }

    fn path(&self) -> Option<&Path> {
        self.0.as_ref().map(|(shown, _)| shown.path())
    }
}

/// The upper directory of `right` if it lies on exactly what `left` shows.
fn upper_over<'a>(left: &[Mount], right: &'a [Mount]) -> Option<&'a Path> {
    if is_changed_by_attributes(right.last()?) {
        return None;
    }
    let ([left], [right]) = (left, right) else { return upper_over_images(left, right) };
    let (upper, lowers) = overlay(right)?;
    let same = match &*left.kind {
        "bind" => lowers == [Path::new(&left.source)],
        "overlay" => {
            left.option("upperdir").is_none() && left.option("lowerdir") == right.option("lowerdir")
        }
        _ => false,
    };
    same.then_some(upper)
}

/// The same of an overlay on EROFS images, which it names by their numbers in the list.
fn upper_over_images<'a>(left: &[Mount], right: &'a [Mount]) -> Option<&'a Path> {
    let (top, images) = right.split_last()?;
    let upper = top.option("upperdir").filter(|upper| !upper.contains("{{"))?;
    let all = match images.len() {
        0 => return None,
        1 => "{{ mount 0 }}".to_owned(),
        several => format!("{{{{ overlay 0 {} }}}}", several - 1),
    };
    let is_over = |mount: &Mount| {
        mount.kind == "format/mkdir/overlay" && mount.option("lowerdir") == Some(all.as_str())
    };
    let shown = match left.split_last()? {
        (top, images) if is_over(top) && top.option("upperdir").is_none() => images,
        _ => left,
    };
    let same = is_over(top) && images == shown && images.iter().all(|image| image.kind == "erofs");
    same.then_some(Path::new(upper))
}

/// Whether the upper directory of this overlay may have entries that are not whole.
fn is_changed_by_attributes(right: &Mount) -> bool {
    // A renamed directory or a file of metadata only is no whole entry of the upper directory.
    let renames = |name: &str| {
        fs_err::read_to_string(format!("/sys/module/overlay/parameters/{name}"))
            .is_ok_and(|value| value.trim() == "Y")
    };
    let asked = |name: &str| right.option(name).is_some_and(|value| value != "off");
    ["redirect_dir", "metacopy"].iter().any(|name| renames(name) || asked(name))
}
