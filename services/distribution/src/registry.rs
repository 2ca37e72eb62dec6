//! A client of OCI registries: which host answers for a reference, with which credentials, and
//! how manifests and blobs come from it and go to it.
//!
//! Owns: references, `hosts.toml`, credentials, tokens, retries, ranged resume, uploads. Must not
//! know: the content store, images, snapshots, or any type of the gRPC wire. What it hands out is
//! checked where it can be checked without keeping it: a manifest whole (size, digest), a blob's
//! size; the digest of a blob is its writer's to check.

mod answer;
mod asked;
mod auth;
mod challenge;
mod clients;
mod credentials;
mod dump;
mod endpoint;
mod error;
mod fetch;
mod hosts;
mod hosts_file;
mod manifest;
mod push;
mod reference;
mod repository;
mod request;
mod resolve;
mod retry;
mod token;
mod upload;

pub use berth_credentials::{Credential, DockerConfig};
pub use credentials::{Anonymous, Credentials, FirstOf, Lookup};
pub use dump::Dump;
pub use endpoint::{Capability, Endpoint};
pub use error::Error;
pub use fetch::Download;

pub use manifest::{Config, Descriptor, Document, Index, Manifest, Platform, RootFs, media};

pub use reference::Reference;
pub use repository::{Options, Registries, Repository, Settings};
pub use retry::Policy;
pub use upload::{Outgoing, Pushed};

/// The most that a manifest or an index may measure.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// The most that an image configuration may measure.
pub const MAX_CONFIG: u64 = 8 << 20;
