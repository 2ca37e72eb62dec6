//! EROFS images as files: which bytes are one, how one is made of a directory or received whole, and
//! which directory of the snapshotter a list of mounts names.
//!
//! Owns: the names that a snapshot's directory has for its image, the program `mkfs.erofs`, the
//! checks of what comes from outside. Must not know: records of snapshots, where bytes come from.

mod image;
mod make;
mod place;
mod receive;

pub(crate) use image::check;
pub(crate) use make::{is_installed, make};
pub(crate) use place::{is_layer_directory, layer_directory};
pub(crate) use receive::{receive, receive_into};

use crate::Error;

/// A layer's image in its snapshot's directory.
pub(crate) const BLOB: &str = "layer.erofs";

/// Tells in an active snapshot's directory that an image may be put there.
pub(crate) const MARK: &str = ".erofslayer";

/// The media type of layers that are images, as containerd has it.
pub const LAYER: &str = "application/vnd.erofs.layer.v1";

/// What the media types of all versions begin with.
const LAYERS: &str = "application/vnd.erofs.layer";

/// How an image comes that is a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// In zstd frames.
    Zstd,
}

impl Packing {
    /// How the layer of a media type comes, none if it is no image.
    ///
    /// # Errors
    /// [`Error::ImageSuffix`] for a compression that images do not have.
    pub fn of(media_type: &str) -> Result<Option<Self>, Error> {
        if !media_type.starts_with(LAYERS) {
            return Ok(None);
        }
        match media_type.split_once('+') {
            None => Ok(Some(Packing::Plain)),
            Some((_, "zstd")) => Ok(Some(Packing::Zstd)),
            Some((_, suffix)) => Err(Error::ImageSuffix(suffix.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_tell_how_images_come() {
        let of = |media_type: &str| Packing::of(media_type);
        assert_eq!(of(LAYER).unwrap(), Some(Packing::Plain));
        assert_eq!(of("application/vnd.erofs.layer.v1+zstd").unwrap(), Some(Packing::Zstd));
        assert_eq!(of("application/vnd.oci.image.layer.v1.tar+zstd").unwrap(), None);
        let refused = of("application/vnd.erofs.layer.v1+gzip").unwrap_err().to_string();
        assert_eq!(refused, "unsupported erofs layer suffix: gzip");
    }
}
