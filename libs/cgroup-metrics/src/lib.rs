//! What control groups measure, of both hierarchies, as containerd's messages have it.
//!
//! Owns: the kernel's files and what they mean. Must not know: whose groups they are, nor what becomes of the figures.
//!
//! What a kernel or a controller does not tell counts as nothing. Files are read as they are: whoever must not block reads
//! them on a thread for that.

mod files;
mod v1;
mod v2;

use berth_cgroup::Place;
use prost_types::Any;

pub use files::Pairs;

/// What is used in a group, as the message of its hierarchy's version: `io.containerd.cgroups.v1.Metrics` or `v2`. Blocks.
#[must_use]
pub fn metrics(place: &Place) -> Any {
    match place {
        Place::V1(_) => berth_proto::pack(&v1::metrics(place)),
        Place::V2(folder) => berth_proto::pack(&v2::metrics(folder)),
    }
}
