//! Images as tar streams: OCI layouts and docker's archives.
//!
//! Owns: what such a stream has where. Must not know: how blobs are stored, images, leases.

mod error;
mod read;
mod write;

pub use error::Error;
pub use read::{Blobs, Contents, DockerImage, read};
pub use write::{Entry, Source, copy, json, write};

/// The file that makes a tar an OCI layout.
const LAYOUT: &str = "oci-layout";
/// The layout's list of images.
const INDEX: &str = "index.json";
/// Docker's list of images.
const DOCKER: &str = "manifest.json";
/// The version of layouts that there is.
const LAYOUT_VERSION: &str = "1.0.0";
