//! Blobs: bytes named by their digest, and the ingests by which they arrive.
//!
//! A blob's bytes may be kept by a process of others instead ([`there`]).
//!
//! Owns: the files below `blobs/` and `ingest/` of the service's root, and the records that say
//! which namespace sees which blob. A blob's file is shared by the namespaces that have it.
//! Must not know: any wire type, registries, images.
//!
//! Invariants: a blob's file is complete and durable before any record names it; a file that no
//! record names is deleted; an ingest is written by one writer at a time.

mod commit;
pub mod files;
mod filter;
pub mod hash;
mod info;
pub mod ingests;
mod recover;
mod store;
pub mod there;
mod work;
mod writer;

pub use info::{Expected, Info, Status};
pub use store::Content;
pub(crate) use store::remove_folder;
pub use writer::Writer;
