//! The reading side of a connection: one frame after the other, data straight into its stream's queue.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::mpsc;

use super::frame::{Control, Fault, HEAD, Head, PROTOCOL_ERROR, REFUSED_STREAM};
use super::headers::Headers;
use super::inflate::Inflate;
use super::streams::Streams;
use crate::channel::{Input, Link, Output, Piece};
use crate::drive::{Activity, Broken};

/// A stream that a client opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stream: u32,
    pub(crate) headers: Headers,
    pub(crate) input: Input,
    pub(crate) output: Output,
}

/// What reads a connection.
pub(crate) struct Reader<R> {
    pub(crate) io: BufReader<R>,
    pub(crate) link: Link,
    pub(crate) activity: Activity,
    /// Where new streams go. When nobody takes them any more they are refused.
    pub(crate) opened: mpsc::Sender<Opened>,
    /// Whether a stream of such headers makes sense.
    pub(crate) accepts: fn(&Headers) -> bool,
    /// Streams that are open at a time.
    pub(crate) most: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads until the connection ends. Every wait in here is for the reader of a stream, or for the
    /// connection's writer: that is how a client is slowed down that sends too fast.
    pub(crate) async fn run(self) -> Result<(), Broken> {
        let streams = Streams::new(self.most);
        let mut running =
            Running { reader: self, streams, inflate: Inflate::new(), leaving: false };
        match running.frames().await {
            Err(Broken::Io(failure)) if failure.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            other => other,
        }
    }
}

struct Running<R> {
    reader: Reader<R>,
    streams: Streams,
    inflate: Inflate,
    /// The client will open no more streams.
    leaving: bool,
}

impl<R: AsyncRead + Unpin> Running<R> {
    async fn frames(&mut self) -> Result<(), Broken> {
        let mut body = Vec::new();
        loop {
            let mut head = [0; HEAD];
            self.reader.io.read_exact(&mut head).await?;
            self.reader.activity.touch();
            match Head::parse(head)? {
                Head::Data { stream, end, length } => {
                    self.data(stream, length).await?;
                    if end {
                        self.streams.end(stream);
                    }
                }
                Head::Control { kind, flags, length } => {
                    body.resize(length, 0);
                    self.reader.io.read_exact(&mut body).await?;
                    self.control(Control::parse(kind, flags, &body)?).await?;
                }
            }
        }
    }

    /// Hands on a frame's data as it arrives. Data of a stream that is not (any more) is dropped, as
    /// what was on its way when a stream ended must be.
    async fn data(&mut self, stream: u32, mut left: usize) -> Result<(), Broken> {
        while left > 0 {
            let bytes = self.reader.io.fill_buf().await?;
            if bytes.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let bytes = bytes.get(..left).unwrap_or(bytes);
            if let Some(feed) = self.streams.get(stream) {
                feed.push(bytes).await;
            }
            let taken = bytes.len();
            left -= taken;
            self.reader.io.consume(taken);
            self.reader.activity.touch();
        }
        Ok(())
    }

    async fn control(&mut self, control: Control<'_>) -> Result<(), Broken> {
        match control {
            Control::Open { stream, end, mute, block } => {
                let headers = Headers::parse(&self.inflate.block(block)?)?;
                self.open(stream, headers, end, mute).await?;
            }
            Control::Block { stream, end, block } => {
                self.inflate.block(block)?;
                if end {
                    self.streams.end(stream);
                }
            }
            Control::Reset { stream } => self.streams.reset(stream),
            Control::Settings { window: Some(window) } => {
                let delta = self.reader.link.pace.set_initial(window);
                self.streams.widen_all(delta);
            }
            // Pings of ours would be even. There are none: whoever answers one is not answered.
            Control::Ping(id) if !id.is_multiple_of(2) => self.say(Piece::Pong(id)).await,
            Control::GoAway => self.leaving = true,
            Control::Widen { stream, bytes } => {
                self.reader.link.pace.speaks();
                if let Some(feed) = self.streams.get(stream) {
                    feed.state.widen(i64::from(bytes));
                }
            }
            Control::Settings { window: None } | Control::Ping(_) | Control::Other => {}
        }
        Ok(())
    }

    async fn open(
        &mut self,
        stream: u32,
        headers: Headers,
        end: bool,
        mute: bool,
    ) -> Result<(), Fault> {
        if !self.streams.admit(stream)? || self.leaving || self.reader.opened.is_closed() {
            self.say(Piece::Refuse(stream, REFUSED_STREAM)).await;
            return Ok(());
        }
        if mute || !(self.reader.accepts)(&headers) {
            self.say(Piece::Refuse(stream, PROTOCOL_ERROR)).await;
            return Ok(());
        }
        let (mut feed, input, output) = self.reader.link.open(stream);
        if end {
            feed.end();
        }
        self.streams.insert(stream, feed);
        // The reply before anything that the session may send.
        self.say(Piece::Reply(stream)).await;
        if self.reader.opened.send(Opened { stream, headers, input, output }).await.is_err() {
            tracing::debug!(stream, "nobody waits for the stream any more");
        }
        Ok(())
    }

    /// Tells the client. A writer that has ended has said all there is.
    async fn say(&mut self, piece: Piece) {
        let _ended = self.reader.link.pieces.send(piece).await;
    }
}
