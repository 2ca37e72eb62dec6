//! Reading tar archives: which entries there are and where their data is.
//!
//! The `tar` crate parses the 512 bytes of a header. What spans blocks is read here, because the
//! crate splits PAX records at line feeds (which breaks binary attributes), reads extension
//! headers of any size into memory and knows no PAX sparse files.

mod decimal;
mod pax;
mod reader;
mod sparse;

#[cfg(test)]
mod tests;

pub use reader::TarReader;

use std::time::Duration;

/// Bytes of a header and what everything is padded to.
pub(crate) const BLOCK: usize = 512;

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Another name of a file of this layer.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// A part of a sparse file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// One entry. Names are as in the archive, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// What it makes.
    pub kind: Kind,
    /// Permission and set-id bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Device numbers.
    pub device: (u32, u32),
    /// Attributes, by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of data in the archive.
    pub data: u64,
    /// Bytes of the file that results.
    pub size: u64,
    /// Where the data goes, if the file has holes.
    pub extents: Option<Vec<Extent>>,
}

/// A modification time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mtime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds after that.
    pub nanos: u32,
}

impl From<Duration> for Mtime {
    fn from(since_1970: Duration) -> Self {
        let seconds = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
        Self { seconds, nanos: since_1970.subsec_nanos() }
    }
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The bytes are no archive, or one that asks for what cannot be.
    #[error("{0}")]
    Malformed(&'static str),
    /// The archive ends inside an entry.
    #[error("the archive is cut off")]
    Truncated,
    /// There are more uncompressed bytes than allowed.
    #[error("{0}")]
    TooLarge(#[source] std::io::Error),
    /// An extension header is larger than its bound.
    #[error("an extension header of {0} bytes is larger than allowed")]
    Extension(u64),
    /// The bytes could not be read.
    #[error("read")]
    Read(#[source] std::io::Error),
}

impl Failure {
    /// Whether a bound was passed, rather than the archive being none.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        matches!(self, Failure::Extension(_) | Failure::TooLarge(_))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Failure::Truncated,
            // Said by the inflating side alone.
            std::io::ErrorKind::FileTooLarge => Failure::TooLarge(error),
            _ => Failure::Read(error),
        }
    }
}
