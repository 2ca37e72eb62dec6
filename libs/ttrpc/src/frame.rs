//! Frames: ten bytes of header, then at most [`MAX_MESSAGE`] bytes.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::Error;

/// Bytes of a header: length and stream (32 bits each, big endian), type, flags.
pub const HEADER_LENGTH: usize = 10;
/// Most bytes that a frame may carry.
pub const MAX_MESSAGE: usize = 4 << 20;

/// The header's first byte is always 0; a length beyond this is not a length.
const MAX_LENGTH: usize = 16 << 20;
/// What is allocated before the first byte of a message has arrived.
const FIRST_READ: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    Data,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Kind::Request => 1,
            Kind::Response => 2,
            Kind::Data => 3,
        }
    }

    fn of(number: u8) -> Result<Kind, Error> {
        match number {
            1 => Ok(Kind::Request),
            2 => Ok(Kind::Response),
            3 => Ok(Kind::Data),
            _ => Err(Error::Malformed("unknown message type")),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub stream: u32,
    pub kind: Kind,
    pub flags: u8,
    /// The message, or the length of one that was too large and thrown away.
    pub body: Result<Bytes, usize>,
}

/// Encodes a whole frame for `stream`.
pub(crate) fn encode(kind: Kind, stream: u32, message: &impl Message) -> Result<BytesMut, Error> {
    let length = message.encoded_len();
    if length > MAX_MESSAGE {
        return Err(Error::Oversize { length });
    }
    let mut frame = BytesMut::with_capacity(HEADER_LENGTH + length);
    frame.put_u32(u32::try_from(length).map_err(|_| Error::Oversize { length })?);
    frame.put_u32(stream);
    frame.put_u8(kind.number());
    frame.put_u8(0);
    message.encode_raw(&mut frame);
    Ok(frame)
}

/// Puts another stream into an encoded frame.
pub(crate) fn set_stream(frame: &mut BytesMut, stream: u32) {
    frame[4..8].copy_from_slice(&stream.to_be_bytes());
}

/// Reads one frame; `None` when the peer closed between frames.
pub(crate) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, Error> {
    let mut header = [0; HEADER_LENGTH];
    let first = reader.read(&mut header).await?;
    if first == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[first..]).await?;
    let length = be(&header[..4]) as usize;
    if length > MAX_LENGTH {
        return Err(Error::Malformed("length beyond 16 MiB"));
    }
    let kind = Kind::of(header[8])?;
    let body = if length > MAX_MESSAGE {
        discard(reader, length).await?;
        Err(length)
    } else {
        Ok(body(reader, length).await?)
    };
    Ok(Some(Frame { stream: be(&header[4..8]), kind, flags: header[9], body }))
}

fn be(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

async fn body(reader: &mut (impl AsyncRead + Unpin), length: usize) -> Result<Bytes, Error> {
    let mut body = Vec::with_capacity(length.min(FIRST_READ));
    reader.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(Error::Malformed("connection ended within a message"));
    }
    Ok(body.into())
}

async fn discard(reader: &mut (impl AsyncRead + Unpin), length: usize) -> Result<(), Error> {
    let mut rest = reader.take(length as u64);
    if tokio::io::copy(&mut rest, &mut tokio::io::sink()).await? < length as u64 {
        return Err(Error::Malformed("connection ended within a message"));
    }
    Ok(())
}
