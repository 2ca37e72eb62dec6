//! The distribution service: blobs, ingests, images, namespaces and leases of a node, and the
//! collection of what nothing refers to any more.
//!
//! Owns: `root/distribution` and its store; the list of namespaces and leases that every other
//! service follows. Must not know: snapshots, containers, tasks beyond their names in the reference
//! graph.

pub mod content;
pub mod error;

pub use error::{Error, Result};
