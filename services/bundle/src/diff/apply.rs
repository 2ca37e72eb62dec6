//! Applying a layer to the mounts of an active snapshot.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use berth_mount::{Mount, TempMount};

use crate::Error;
use crate::layer::{self, Applied, Limits, Target, Whiteouts, implied, is_layer};
use crate::snapshots::blocking;

/// A layer to apply.
pub struct Apply {
    /// Its digest.
    pub layer: String,
    /// Its media type.
    pub media_type: String,
    /// Where to.
    pub mounts: Vec<Mount>,
    /// Where a temporary mount may be made.
    pub temporary: PathBuf,
    /// What it may ask for.
    pub limits: Limits,
}

/// Extracts `input` into what the mounts show.
///
/// An overlay's upper directory is written directly, without mounting: deletions become the
/// overlay's own. A bind mount's source is written directly too. Anything else is mounted.
///
/// # Errors
/// What is wrong with the layer or the mounts.
pub async fn apply(apply: Apply, input: File) -> Result<Applied, Error> {
    if !is_layer(&apply.media_type) {
        return Err(Error::MediaType { layer: apply.layer, media_type: apply.media_type });
    }
    blocking("apply layer", move || extract(&apply, input)).await
}

fn extract(apply: &Apply, input: File) -> Result<Applied, Error> {
    let into = |root: &Path, whiteouts| {
        let target = Target { layer: &apply.layer, root, whiteouts, limits: &apply.limits };
        layer::apply(crate::input::Patient::new(input), &target)
    };
    match &*apply.mounts {
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
                return into(source, Whiteouts::Merged);
            }
        }
        [] => {
            let reason = "there is nothing to apply the layer to";
            return Err(Error::Argument { what: "mounts", value: String::new(), reason });
        }
        _ => {}
    }
    let mounted = TempMount::new(&apply.mounts, &apply.temporary, &temporary_name())?;
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
