//! From a blob's bytes to the tar's, by what the bytes themselves say.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

/// How a blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip, maybe in several members.
    Gzip,
    /// zstd, maybe in several frames.
    Zstd,
}

impl Compression {
    /// What the first bytes tell. As containerd does, a media type's suffix is not trusted:
    /// registries hold plain layers under gzip's type and the reverse.
    #[must_use]
    pub fn of_magic(start: &[u8]) -> Self {
        const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
        if start.starts_with(&[0x1f, 0x8b, 0x08]) {
            Compression::Gzip
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
            || (start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == ZSTD_SKIPPABLE)
        {
            Compression::Zstd
        } else {
            Compression::Plain
        }
    }
}

/// The media type of a layer that is not compressed.
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// Whether a media type is one of a layer that is a tar, compressed or not: OCI's or docker's, with
/// any suffix but that of encryption.
#[must_use]
pub fn is_layer(media_type: &str) -> bool {
    const BASES: [&str; 7] = [
        TAR,
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ];
    let mut parts = media_type.split('+');
    parts.next().is_some_and(|base| BASES.contains(&base)) && parts.all(|p| p != "encrypted")
}

/// A reader of the uncompressed bytes.
pub enum Decoder<R: BufRead> {
    /// The bytes as they are.
    Plain(R),
    /// Inflating.
    Gzip(Box<MultiGzDecoder<R>>),
    /// zstd.
    Zstd(Box<zstd::stream::read::Decoder<'static, R>>),
}

impl<R: BufRead> Decoder<R> {
    /// Looks at the first bytes of `input` and chooses.
    ///
    /// # Errors
    /// What reading `input` answers.
    pub fn new(mut input: R) -> io::Result<Self> {
        let compression = Compression::of_magic(input.fill_buf()?);
        Ok(match compression {
            Compression::Plain => Decoder::Plain(input),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Zstd => {
                Decoder::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(input)?))
            }
        })
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(input) => input.read(buffer),
            Decoder::Gzip(input) => input.read(buffer),
            Decoder::Zstd(input) => input.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_tell_how_they_are_compressed() {
        assert_eq!(Compression::of_magic(&[0x1f, 0x8b, 8, 0]), Compression::Gzip);
        assert_eq!(Compression::of_magic(&[0x28, 0xb5, 0x2f, 0xfd]), Compression::Zstd);
        assert_eq!(Compression::of_magic(&[0x5f, 0x2a, 0x4d, 0x18]), Compression::Zstd);
        assert_eq!(Compression::of_magic(b"etc/passwd"), Compression::Plain);
        assert_eq!(Compression::of_magic(b""), Compression::Plain);
    }

    #[test]
    fn only_layers_are_applied() {
        assert!(is_layer("application/vnd.docker.image.rootfs.diff.tar.gzip"));
        assert!(is_layer("application/vnd.oci.image.layer.v1.tar+zstd"));
        assert!(!is_layer("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"));
        assert!(is_layer("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"));
        assert!(!is_layer("application/vnd.oci.image.config.v1+json"));
        assert!(!is_layer("application/vnd.oci.image.layer.v1.tarball") && !is_layer(""));
    }
}
