//! What clients call the node, made into a name that HTTP accepts.
//!
//! Over a unix socket the `:authority` of a call is whatever a client makes of the socket's path: a
//! path, or an escaped one. containerd takes any; h2 refuses what is no host name. So what a client
//! sends passes through here first. A name that is none becomes one of the same length, which means
//! the same to everybody, for nobody asks for it: the dynamic table that client and h2 share stays in
//! step without being known here, for the sizes of its entries are the same, and what was put into it
//! once is the name that fits. All else passes as it is, without being copied.
//!
//! What is not understood (a name that is empty, very long, in a CONTINUATION, or under an index of the dynamic
//! table) passes as it is too, and h2 decides.

mod block;
mod huffman;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::uri::Authority;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::window::WINDOW;

/// What a connection begins with.
const PREFACE: usize = 24;
/// Length, kind, flags and stream of a frame.
const HEAD: usize = 9;
/// The kind of frame that a call begins with.
const HEADERS: u8 = 1;
/// Its flags.
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// A longer frame is not waited for, nor made: h2 refuses it.
const LONGEST: usize = HEAD + WINDOW.frame as usize;

/// A connection whose calls have names that HTTP accepts.
#[derive(Debug)]
pub struct Names<S> {
    inner: S,
    fits: fn(&[u8]) -> bool,
    /// So many bytes pass before the next frame begins.
    pass: usize,
    /// The beginning of a frame that is not there as a whole, or has to be changed.
    held: BytesMut,
    /// What can be read before anything else.
    ready: BytesMut,
}

impl<S> Names<S> {
    /// Reads what a client sends.
    pub fn new(inner: S) -> Self {
        Self::with(inner, |name| Authority::try_from(name).is_ok())
    }

    fn with(inner: S, fits: fn(&[u8]) -> bool) -> Self {
        Self { inner, fits, pass: PREFACE, held: BytesMut::new(), ready: BytesMut::new() }
    }

    /// How much of the bytes can pass as it is, up to a frame that cannot, or not yet; and what stands
    /// for that frame.
    fn passing(&mut self, bytes: &[u8]) -> (usize, Option<Renamed>) {
        let mut at = 0;
        loop {
            let passed = self.pass.min(bytes.len() - at);
            self.pass -= passed;
            at += passed;
            match frame(&bytes[at..]) {
                Frame::Passing(length) => self.pass = length,
                Frame::Headers(frame) => match renamed(frame, self.fits) {
                    None => self.pass = frame.len(),
                    Some(bytes) => return (at, Some(Renamed { bytes, instead: frame.len() })),
                },
                Frame::Cut => return (at, None),
            }
        }
    }

    /// Moves what is complete from `held` to `ready`.
    fn release(&mut self) {
        loop {
            let mut held = std::mem::take(&mut self.held);
            let (passing, renamed) = self.passing(&held);
            self.ready.unsplit(held.split_to(passing));
            self.held = held;
            match renamed {
                Some(renamed) => self.replace(&renamed),
                None => return,
            }
        }
    }

    /// Releases a frame in place of the one that `held` begins with.
    fn replace(&mut self, renamed: &Renamed) {
        self.held.advance(renamed.instead);
        self.ready.extend_from_slice(&renamed.bytes);
    }
}

/// A frame in place of one of a call whose name does not fit.
struct Renamed {
    bytes: Vec<u8>,
    /// The length of that one.
    instead: usize,
}

enum Frame<'a> {
    /// Of no interest, and so long.
    Passing(usize),
    /// The beginning of a call, as a whole.
    Headers(&'a [u8]),
    /// Its end, or even its length, has not come yet.
    Cut,
}

/// The frame that the bytes begin with.
fn frame(bytes: &[u8]) -> Frame<'_> {
    let Some([a, b, c, kind]) = bytes.first_chunk().filter(|_| bytes.len() >= HEAD) else {
        return Frame::Cut;
    };
    let length = HEAD + u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if *kind != HEADERS || length > LONGEST {
        return Frame::Passing(length);
    }
    bytes.get(..length).map_or(Frame::Cut, Frame::Headers)
}

/// A frame of headers with a name that fits, unless it has one, or none that can be changed.
fn renamed(frame: &[u8], fits: fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let flags = frame.get(4)?;
    let (mut start, mut end) = (HEAD, frame.len());
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*frame.get(start)?))?;
        start += 1;
    }
    if flags & PRIORITY != 0 {
        start += 5;
    }
    let block = block::renamed(frame.get(start..end)?, fits)?;
    let length = frame.len() - HEAD - (end - start) + block.len();
    // Written plainly a name may be longer than it was.
    let length = u32::try_from(length).ok().filter(|length| *length <= WINDOW.frame)?;
    Some([&length.to_be_bytes()[1..], &frame[3..start], &block, &frame[end..]].concat())
}

impl<S: AsyncRead + Unpin> AsyncRead for Names<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                let count = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready[..count]);
                this.ready.advance(count);
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                let (passing, renamed) = this.passing(&buf.filled()[before..]);
                let held = &buf.filled()[before + passing..];
                if held.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                this.held.extend_from_slice(held);
                buf.set_filled(before + passing);
                if let Some(renamed) = renamed {
                    this.replace(&renamed);
                }
                this.release();
                if passing > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut more = [0; 4 << 10];
                let mut more = ReadBuf::new(&mut more);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut more))?;
                if more.filled().is_empty() {
                    // Cut off in the midst of a frame: h2 says what it makes of that.
                    this.ready = this.held.split();
                } else {
                    this.held.extend_from_slice(more.filled());
                    this.release();
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Names<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
