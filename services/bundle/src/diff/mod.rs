//! Layers and mounts: applying the one to the other.
//!
//! Owns: how a list of mounts is read as a directory to extract into. Must not know: where the
//! layer's bytes are kept.

mod apply;

pub use apply::{Apply, apply};
