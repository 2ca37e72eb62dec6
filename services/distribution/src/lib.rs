//! The distribution service: blobs, ingests, images, namespaces and leases of a node, and the
//! collection of what nothing refers to any more.
//!
//! Owns: `root/distribution` and its store; the list of namespaces and leases that every other
//! service follows. Must not know: snapshots, containers, tasks beyond their names in the reference
//! graph.

pub mod archive;
pub mod content;
pub mod error;
pub mod events;
pub mod gc;
pub mod images;
pub mod leases;
pub mod namespaces;
pub mod neighbour;
mod node;
pub mod records;
pub mod registry;
pub mod scope;
pub mod shared;
pub mod transfer;
pub mod unpack;

pub use error::{Error, Result};
pub use node::Distribution;
pub use scope::Scope;
