//! Frames: eight bytes of head, and what control frames hold. Must not know: streams.

/// Bytes of a frame's head.
pub(super) const HEAD: usize = 8;
/// Bytes that a control frame may have after its head. Data is never held as a whole, so has no bound.
pub(super) const MOST_CONTROL: usize = 16 << 10;

/// A stream's status when the client broke the protocol on it.
pub(super) const PROTOCOL_ERROR: u32 = 1;
/// A stream's status when it is one too many.
pub(super) const REFUSED_STREAM: u32 = 3;
/// A stream's status when it is given up.
pub(super) const CANCEL: u32 = 5;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

const FIN: u8 = 1;
const INITIAL_WINDOW: u32 = 7;

/// What a client sent that no client may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("a control frame of version {0}")]
    Version(u16),
    #[error("a control frame of {0} bytes")]
    TooLarge(usize),
    #[error("a control frame that is too short for its kind")]
    Short,
    #[error("stream {0} is not the client's next one")]
    StreamNumber(u32),
    #[error("a header block that is not one")]
    Block,
    #[error("a header block of too many bytes or headers")]
    LargeBlock,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Data { stream: u32, end: bool, length: usize },
    Control { kind: u16, flags: u8, length: usize },
}

impl Head {
    pub(super) fn parse(bytes: [u8; HEAD]) -> Result<Self, Fault> {
        let [a, b, c, d, flags, x, y, z] = bytes;
        let length = u32::from_be_bytes([0, x, y, z]) as usize;
        if a & 0x80 == 0 {
            let stream = u32::from_be_bytes([a, b, c, d]);
            return Ok(Self::Data { stream, end: flags & FIN != 0, length });
        }
        let version = u16::from_be_bytes([a & 0x7f, b]);
        if version != 3 {
            return Err(Fault::Version(version));
        }
        if length > MOST_CONTROL {
            return Err(Fault::TooLarge(length));
        }
        Ok(Self::Control { kind: u16::from_be_bytes([c, d]), flags, length })
    }

    pub(super) fn bytes(self) -> [u8; HEAD] {
        let (first, flags, length) = match self {
            Self::Data { stream, end, length } => {
                (stream & 0x7fff_ffff, u8::from(end) * FIN, length)
            }
            Self::Control { kind, flags, length } => (0x8003_0000 | u32::from(kind), flags, length),
        };
        let ([a, b, c, d], [_, x, y, z]) = (first.to_be_bytes(), (length as u32).to_be_bytes());
        [a, b, c, d, flags, x, y, z]
    }
}

/// A control frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Control<'a> {
    /// A new stream; `end`: nothing will arrive on it; `mute`: nothing may be sent on it.
    Open {
        stream: u32,
        end: bool,
        mute: bool,
        block: &'a [u8],
    },
    /// More headers, or the answer to a stream that no server of ours opens: only its block counts.
    Block {
        stream: u32,
        end: bool,
        block: &'a [u8],
    },
    Reset {
        stream: u32,
    },
    /// The window of new streams, if the settings have it.
    Settings {
        window: Option<u32>,
    },
    Ping(u32),
    GoAway,
    Widen {
        stream: u32,
        bytes: u32,
    },
    /// Of a kind that is not known, to be skipped.
    Other,
}

impl<'a> Control<'a> {
    pub(super) fn parse(kind: u16, flags: u8, body: &'a [u8]) -> Result<Self, Fault> {
        let end = flags & FIN != 0;
        Ok(match kind {
            SYN_STREAM => {
                let (stream, rest) = stream_of(body)?;
                let block = rest.get(6..).ok_or(Fault::Short)?;
                Self::Open { stream, end, mute: flags & 2 != 0, block }
            }
            SYN_REPLY | HEADERS => {
                let (stream, block) = stream_of(body)?;
                Self::Block { stream, end, block }
            }
            RST_STREAM => Self::Reset { stream: stream_of(body)?.0 },
            SETTINGS => Self::Settings { window: initial_window(body)? },
            PING => Self::Ping(word(body)?.0),
            GOAWAY => Self::GoAway,
            WINDOW_UPDATE => {
                let (stream, rest) = stream_of(body)?;
                Self::Widen { stream, bytes: stream_of(rest)?.0 }
            }
            _ => Self::Other,
        })
    }
}

fn word(bytes: &[u8]) -> Result<(u32, &[u8]), Fault> {
    let (word, rest) = bytes.split_first_chunk().ok_or(Fault::Short)?;
    Ok((u32::from_be_bytes(*word), rest))
}

/// A number of 31 bits.
fn stream_of(bytes: &[u8]) -> Result<(u32, &[u8]), Fault> {
    let (word, rest) = word(bytes)?;
    Ok((word & 0x7fff_ffff, rest))
}

fn initial_window(body: &[u8]) -> Result<Option<u32>, Fault> {
    let (count, rest) = word(body)?;
    if rest.len() != (count as usize).saturating_mul(8) {
        return Err(Fault::Short);
    }
    let mut window = None;
    for entry in rest.chunks_exact(8) {
        let (id, value) = word(entry)?;
        if id & 0x00ff_ffff == INITIAL_WINDOW {
            window = Some(word(value)?.0);
        }
    }
    Ok(window)
}

fn control(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Head::Control { kind, flags: 0, length: body.len() }.bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn two_words(first: u32, second: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_be_bytes(), second.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

pub(super) fn reply(stream: u32, block: &[u8]) -> Vec<u8> {
    control(SYN_REPLY, &[&stream.to_be_bytes(), block].concat())
}

pub(super) fn reset(stream: u32, status: u32) -> Vec<u8> {
    control(RST_STREAM, &two_words(stream, status))
}

pub(super) fn ping(id: u32) -> Vec<u8> {
    control(PING, &id.to_be_bytes())
}

pub(super) fn go_away(last: u32, status: u32) -> Vec<u8> {
    control(GOAWAY, &two_words(last, status))
}

pub(super) fn widen(stream: u32, bytes: u32) -> Vec<u8> {
    control(WINDOW_UPDATE, &two_words(stream, bytes.min(0x7fff_ffff)))
}
