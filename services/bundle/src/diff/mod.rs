//! Layers and mounts: applying the one to the other, and making the one from the other.
//!
//! Owns: how a list of mounts is read as a directory; which files differ between two; the tar that
//! says so. Must not know: where a layer's bytes are kept or sent.

mod apply;
mod archive;
mod compress;
mod links;
mod make;
mod open;
mod same;
mod upper;
mod walk;

pub use apply::{Apply, apply, apply_image};
pub(crate) use apply::{extract, temporary_name};
pub(crate) use compress::DEFAULT;
pub(crate) use make::UNCOMPRESSED;
pub use make::{Made, Making, make};
