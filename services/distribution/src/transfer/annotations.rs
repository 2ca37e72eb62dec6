//! The annotations by which archives name images.

/// An image's whole name.
pub const IMAGE_NAME: &str = "io.containerd.image.name";
/// An image's name or tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
