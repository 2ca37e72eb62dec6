//! A header block, unpacked and packed. Must not know: compression of what arrives, frames.

use super::dictionary::CHECKSUM;
use super::frame::Fault;

/// Headers that a block may have.
const MOST_HEADERS: usize = 64;

/// The headers of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    pub(super) fn parse(block: &[u8]) -> Result<Self, Fault> {
        let (count, mut rest) = length(block)?;
        if count > MOST_HEADERS {
            return Err(Fault::LargeBlock);
        }
        let mut headers = Vec::new();
        for _ in 0..count {
            let (name, after) = text(rest)?;
            let (value, after) = text(after)?;
            headers.push((name, value));
            rest = after;
        }
        if rest.is_empty() { Ok(Self(headers)) } else { Err(Fault::Block) }
    }

    /// The first value of a header, if it is there and not empty. Names have no case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        value.split('\0').next().filter(|value| !value.is_empty())
    }
}

fn length(bytes: &[u8]) -> Result<(usize, &[u8]), Fault> {
    let (word, rest) = bytes.split_first_chunk().ok_or(Fault::Block)?;
    Ok((u32::from_be_bytes(*word) as usize, rest))
}

fn text(bytes: &[u8]) -> Result<(String, &[u8]), Fault> {
    let (length, rest) = length(bytes)?;
    let (text, rest) = rest.split_at_checked(length).ok_or(Fault::Block)?;
    Ok((String::from_utf8_lossy(text).into_owned(), rest))
}

/// The packed blocks of our replies, none of which has headers.
///
/// What is always the same needs no compressor, which would cost 256 KiB for a connection: each is one
/// stored block of four zeros, and an empty one as a flush leaves it.
#[derive(Debug, Default)]
pub(super) struct Empty {
    begun: bool,
}

impl Empty {
    pub(super) fn next(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            // zlib's head: deflate, 32 KiB, with a dictionary.
            bytes.extend_from_slice(&[0x78, 0xbb]);
            bytes.extend_from_slice(&CHECKSUM.to_be_bytes());
        }
        bytes.extend_from_slice(&[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, 0, 0, 0xff, 0xff]);
        bytes
    }
}
