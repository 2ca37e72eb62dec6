//! What goes wrong in a transfer.

use berth_errors::{Code, Coded};
use berth_ids::Digest;

/// A failed transfer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] crate::registry::Error),
    /// The registry could not or would not say what a reference names.
    #[error("failed to resolve image")]
    Resolve(#[source] crate::registry::Error),
    /// The registry refuses an index.
    #[error(
        "manifest list/index references to blobs and/or manifests are missing in your target registry"
    )]
    References(#[source] crate::registry::Error),
    /// Our own store of blobs, images and leases.
    #[error(transparent)]
    Store(#[from] crate::Error),
    /// A verifier of images.
    #[error(transparent)]
    Verifier(#[from] crate::verifiers::Error),
    /// The unpacking of a layer.
    #[error(transparent)]
    Unpack(#[from] crate::unpack::Error),
    /// An archive.
    #[error(transparent)]
    Archive(#[from] crate::archive::Error),
    /// An index has nothing for the machines wanted.
    #[error(
        "index {index} has no manifest for {wanted}, only for {offered}: no match for platform in manifest: not found"
    )]
    NoPlatform {
        /// The index.
        index: Digest,
        /// The machines wanted.
        wanted: String,
        /// What it has.
        offered: String,
    },
    /// A blob that should be here is not, and there is no registry to ask.
    #[error("content {0} is not here and the archive did not have it: not found")]
    Missing(Digest),
    /// A blob that is to be pushed is neither here nor at the registry.
    #[error(
        "content digest {digest} is neither here nor at {host}, pull the image with all its layers: not found"
    )]
    NothingToPush {
        /// The blob.
        digest: Digest,
        /// The registry.
        host: String,
    },
    /// A document nests deeper than any image does.
    #[error("index {0} is nested deeper than {1} levels: invalid argument")]
    TooDeep(Digest, usize),
    /// A configuration and its manifest disagree.
    #[error(
        "manifest {manifest}: number of layers and diffIDs don't match: {layers} != {diff_ids}: invalid argument"
    )]
    LayerCount {
        /// The manifest.
        manifest: Digest,
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the configuration.
        diff_ids: usize,
    },
    /// The image's target cannot be transferred so.
    #[error("{digest} is {media_type:?}, {wanted}: invalid argument")]
    MediaType {
        /// The object.
        digest: Digest,
        /// What it is.
        media_type: String,
        /// What can be handled.
        wanted: &'static str,
    },
    /// Bundle lost a staged layer twice.
    #[error("layer {0}: bundle lost it twice while it was unpacked, pull again: unavailable")]
    Staging(Digest),
    /// Nothing gave an image a name.
    #[error("no image name found, give the image one: not found")]
    NoName,
    /// Asked for something that has no meaning here.
    #[error("{0}: not implemented")]
    Unsupported(&'static str),
    /// A worker thread died.
    #[error("{step}: worker ended: internal")]
    Worker {
        /// What it was doing.
        step: &'static str,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Registry(error) | Error::Resolve(error) | Error::References(error) => {
                error.code()
            }
            Error::Store(error) => error.code(),
            Error::Verifier(error) => error.code(),
            Error::Unpack(error) => error.code(),
            Error::Archive(error) => error.code(),
            Error::NoPlatform { .. }
            | Error::Missing(_)
            | Error::NothingToPush { .. }
            | Error::NoName => Code::NotFound,
            Error::TooDeep(..) | Error::LayerCount { .. } | Error::MediaType { .. } => {
                Code::InvalidArgument
            }
            Error::Staging(_) => Code::Unavailable,
            Error::Unsupported(_) => Code::Unimplemented,
            Error::Worker { .. } => Code::Internal,
        }
    }
}
