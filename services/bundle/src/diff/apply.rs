//! Applying a layer to the mounts of an active snapshot.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use berth_mount::{Mount, TempMount};

use crate::Error;
use crate::erofs::{self, Packing};
use crate::layer::{self, Applied, Limits, Target, Whiteouts, implied};
use crate::mounts::Transient;
use crate::processors::{Chain, Payloads, through};
use crate::snapshots::blocking;

/// A layer to apply.
pub struct Apply {
    /// Its digest.
    pub layer: String,
    /// Where to.
    pub mounts: Vec<Mount>,
    /// Where a temporary mount may be made.
    pub temporary: PathBuf,
    /// Below these, mounts may have files and directories made.
    pub roots: Vec<PathBuf>,
    /// What it may ask for.
    pub limits: Limits,
}

/// Extracts what `chain` makes of `input` into what the mounts show.
///
/// An overlay's upper directory is written directly, without mounting: deletions become the
/// overlay's own. A bind mount's source is written directly too. Anything else is mounted, and
/// before it what an activation would make.
///
/// # Errors
/// What is wrong with the layer or the mounts.
pub async fn apply(
    apply: Apply,
    chain: Chain,
    payloads: Payloads,
    input: File,
) -> Result<Applied, Error> {
    let work = |input| {
        let input = crate::input::Patient::new(input);
        blocking("apply layer", move || extract(&apply, input))
    };
    through(chain, &payloads, input, work).await
}

/// Puts a layer that is an EROFS image into the active snapshot of erofs that the mounts are of.
///
/// # Errors
/// What is wrong with the image; [`Error::Unsupported`] for other mounts.
pub async fn apply_image(apply: Apply, packing: Packing, input: File) -> Result<Applied, Error> {
    let input = crate::input::Patient::new(input);
    blocking("apply layer", move || {
        let Apply { layer, mounts, roots, limits, .. } = &apply;
        erofs::receive(input, packing, mounts, roots, layer, limits)
    })
    .await
}

/// The same, at once, of what is a layer.
pub(crate) fn extract(apply: &Apply, input: impl Read + Send) -> Result<Applied, Error> {
    let into = |root: &Path, whiteouts| {
        let target = Target { layer: &apply.layer, root, whiteouts, limits: &apply.limits };
        layer::apply(input, &target)
    };
    let here = apply.temporary.join(temporary_name());
    let transient = Transient::new(&apply.mounts, here, &apply.roots)?;
    match transient.left() {
        [mount] if mount.target.is_empty() => {
            if let Some((upper, lowers)) = overlay(mount) {
                let userxattr = mount.options.iter().any(|option| option == "userxattr");
                let applied = into(upper, Whiteouts::Overlay { userxattr })?;
                implied::adopt(upper, &applied.implied, &lowers).map_err(|(path, errno)| {
                    Error::Entry {
                        layer: apply.layer.clone(),
                        entry: String::from_utf8_lossy(&path).into_owned(),
                        step: "copy attributes from the layers below",
                        source: errno.into(),
                    }
                })?;
                return Ok(applied);
            }
            if let Some(source) = writable_bind(mount) {
                // Of a snapshot of erofs what is gone is kept: it may get its parent late.
                let image = source.parent().is_some_and(erofs::is_layer_directory);
                return into(
                    source,
                    match image {
                        true => Whiteouts::Overlay { userxattr: false },
                        false => Whiteouts::Merged,
                    },
                );
            }
        }
        [] => {
            let reason = "there is nothing to apply the layer to";
            return Err(Error::Argument { what: "mounts", value: String::new(), reason });
        }
        _ => {}
    }
    let mounted = TempMount::new(transient.left(), &apply.temporary, &temporary_name())?;
    into(mounted.path(), Whiteouts::Merged)
}

/// The upper directory and the lower ones, topmost first, of a writable overlay.
pub(super) fn overlay(mount: &Mount) -> Option<(&Path, Vec<PathBuf>)> {
    if mount.kind != "overlay" || mount.is_read_only() {
        return None;
    }
    let lowers = mount.option("lowerdir")?.split(':').map(PathBuf::from).collect();
    Some((Path::new(mount.option("upperdir")?), lowers))
}

/// The source of a bind mount with nothing but the usual options.
fn writable_bind(mount: &Mount) -> Option<&Path> {
    let usual = |option: &String| matches!(&**option, "rw" | "bind" | "rbind");
    let bind = mount.kind == "bind" && mount.options.iter().all(usual);
    bind.then_some(Path::new(&mount.source))
}

/// A name for a directory to mount on, new in this process.
pub(crate) fn temporary_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
