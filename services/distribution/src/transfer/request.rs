//! What a caller wants transferred, checked and without any wire type.

use berth_ids::{Labels, Namespace};

use super::progress::Reporter;
use crate::registry::{Options, Platform, Reference};

/// Who wants it.
#[derive(Clone)]
pub struct Caller {
    /// In which namespace.
    pub namespace: Namespace,
    /// Under which lease; without one the transfer has its own.
    pub lease: Option<String>,
    /// Who is told how it goes.
    pub progress: Reporter,
}

/// An image at a registry.
#[derive(Clone)]
pub struct Remote {
    /// Its reference.
    pub reference: Reference,
    /// How the registry is reached.
    pub options: Options,
}

/// Images here: those to read, or those to make.
#[derive(Clone, Debug, Default)]
pub struct ImageStore {
    /// The image's name; may be empty when there are further references.
    pub name: String,
    /// Labels of images that are made.
    pub labels: Labels,
    /// Machines whose manifests count; none: all.
    pub platforms: Vec<Platform>,
    /// Keep manifests and configurations of all machines.
    pub all_metadata: bool,
    /// The most manifests to take from an index; 0: no bound.
    pub manifest_limit: usize,
    /// Further names.
    pub extra: Vec<ExtraReference>,
    /// Where to unpack to.
    pub unpacks: Vec<Unpack>,
}

/// A further name of an image, or what such names begin with.
#[derive(Clone, Debug, Default)]
pub struct ExtraReference {
    /// The name or prefix.
    pub name: String,
    /// It is a prefix: a tag or a digest is added.
    pub is_prefix: bool,
    /// A full name in the archive may differ from the prefix.
    pub allow_overwrite: bool,
    /// Add the digest to the prefix.
    pub add_digest: bool,
    /// Add it only where no name was found.
    pub skip_named_digest: bool,
}

/// One unpacking of an image.
#[derive(Clone, Debug, Default)]
pub struct Unpack {
    /// For which machine; none: this one.
    pub platform: Option<Platform>,
    /// By which snapshotter; empty: bundle's default.
    pub snapshotter: String,
}

/// How an archive is written.
#[derive(Clone, Debug, Default)]
pub struct Export {
    /// Machines to export for; none: this one.
    pub platforms: Vec<Platform>,
    /// Export for all machines.
    pub all_platforms: bool,
    /// Leave docker's `manifest.json` out.
    pub skip_docker_manifest: bool,
    /// Leave out layers that may not be given to others.
    pub skip_non_distributable: bool,
}
