//! What a key was called in the version that it was written in.

use super::{IMAGES, PLUGIN, RUNTIME};
use crate::tree::dotted;

/// The first version with three tables.
const DIVIDED: i64 = 3;

/// A key of the tables of now, by the names of the file's `version`. Before version 3 there was one table.
pub(super) fn as_written(path: &[&str], version: i64) -> String {
    let Some((table, keys)) = path.split_first() else { return String::new() };
    if version >= DIVIDED {
        return dotted(&[&["plugins", table], keys].concat());
    }
    let whole = if version < 2 { "cri" } else { PLUGIN };
    let keys: Vec<&str> = match (*table, keys) {
        (IMAGES, ["pinned_images", "sandbox"]) => vec!["sandbox_image"],
        (
            IMAGES,
            [key @ ("snapshotter" | "disable_snapshot_annotations" | "discard_unpacked_layers")],
        ) => vec!["containerd", key],
        (RUNTIME, ["cni", "bin_dirs"]) => vec!["cni", "bin_dir"],
        (_, keys) => keys.to_vec(),
    };
    dotted(&[&["plugins", whole], &*keys].concat())
}
