//! An image on a node.

use berth_ids::Digest;

/// The most layers of an image that are shown: overlayfs takes no more, either.
pub const MAX_LAYERS: usize = 256;

/// An image, as a node holds it. Nothing of it depends on the node or the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Of its manifest or index.
    pub digest: Digest,
    /// Of that.
    pub media_type: String,
    /// Bytes of all its blobs that are there.
    pub size: u64,
    /// All that is needed to run it there is there.
    pub complete: bool,
    /// Layers of the node's platform, the lowest first; at most [`MAX_LAYERS`].
    pub layers: Vec<Digest>,
    /// Places in `layers` of those that are not there.
    pub missing: Vec<u32>,
}
