//! Frames, as the module above has them.

use bytes::{BufMut, Bytes, BytesMut};

/// The most bytes in a frame.
pub(super) const MOST: usize = 64 << 10;

/// What a client takes part in, as its first byte has it.
pub(super) const STDIN: u8 = 1;
pub(super) const STDOUT: u8 = 2;
pub(super) const STDERR: u8 = 4;

/// Kinds of a client's frames.
pub(super) const DATA: u8 = 0;
pub(super) const END_OF_STDIN: u8 = 1;

/// What the shim sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stdout = 1,
    Stderr = 2,
    End = 3,
}

impl Kind {
    /// Whether a client that began with `flags` is sent it.
    pub(super) fn concerns(self, flags: u8) -> bool {
        match self {
            Kind::Stdout => flags & STDOUT != 0,
            Kind::Stderr => flags & STDERR != 0,
            Kind::End => true,
        }
    }

    /// A frame of it; of bytes beyond [`MOST`] the caller makes several.
    pub(super) fn frame(self, bytes: &[u8]) -> Bytes {
        let mut frame = BytesMut::with_capacity(5 + bytes.len());
        frame.put_u8(self as u8);
        frame.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        frame.put_slice(bytes);
        frame.freeze()
    }
}
