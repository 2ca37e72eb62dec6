//! The two sides of a connection of channels.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::Form;
use crate::channel::{Feed, Owed, PIECES, Parting, Piece};
use crate::drive::{Activity, Broken};

/// The channel of which messages close another, from version 5 on.
const CLOSE: u8 = 255;

/// The reading side.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) form: Form,
    /// Whether channels can be closed one by one.
    pub(crate) closes: bool,
    /// The channels that a client may send on.
    pub(crate) feeds: BTreeMap<u8, Feed>,
    pub(crate) activity: Activity,
}

impl Channels {
    /// Reads until the connection ends. Waits for whoever reads a channel, and so slows its client down.
    pub(crate) async fn run<T>(mut self, mut messages: T) -> Result<(), Broken>
    where
        T: Stream<Item = tungstenite::Result<Message>> + Unpin,
    {
        while let Some(message) = messages.next().await {
            self.activity.touch();
            match message.map_err(broken)? {
                message @ (Message::Text(_) | Message::Binary(_)) => {
                    self.message(message.into_data()).await?;
                }
                Message::Close(_) => return Ok(()),
                // Pings are answered by the protocol's crate.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        Ok(())
    }

    async fn message(&mut self, payload: bytes::Bytes) -> Result<(), Broken> {
        let Some((channel, bytes)) = self.form.parse(payload).map_err(|_| Broken::Message)? else {
            return Ok(());
        };
        if channel == CLOSE && self.closes {
            let &[closed] = &bytes[..] else { return Err(Broken::Message) };
            if let Some(mut feed) = self.feeds.remove(&closed) {
                feed.end();
            }
        } else if let Some(feed) = self.feeds.get_mut(&channel) {
            feed.push(&bytes).await;
        }
        Ok(())
    }
}

fn broken(failure: tungstenite::Error) -> Broken {
    match failure {
        tungstenite::Error::Io(failure) => Broken::Io(failure),
        tungstenite::Error::Capacity(_) => Broken::TooLarge,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            Broken::Io(io::ErrorKind::UnexpectedEof.into())
        }
        _ => Broken::Message,
    }
}

/// The writing side: until all has been said, or the client is gone. Ends of single channels are not told:
/// clients know of them by the end of the connection.
pub(crate) async fn write<T>(
    mut sink: T,
    form: Form,
    mut queue: mpsc::Receiver<Piece>,
    owed: Arc<Owed>,
    activity: Activity,
) -> io::Result<()>
where
    T: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let message = |piece| match piece {
        Piece::Data(channel, bytes) => {
            Some(form.message(u8::try_from(channel).unwrap_or(u8::MAX), &bytes))
        }
        Piece::Reply(_) | Piece::Refuse(..) | Piece::Pong(_) => None,
    };
    loop {
        tokio::select! {
            Some(piece) = queue.recv() => if let Some(message) = message(piece) {
                sink.feed(message).await.map_err(io::Error::other)?;
            },
            (_, parting) = owed.next() => if let Some(parting) = parting {
                for _ in 0..PIECES {
                    let Ok(piece) = queue.try_recv() else { break };
                    if let Some(message) = message(piece) {
                        sink.feed(message).await.map_err(io::Error::other)?;
                    }
                }
                return part(sink, parting).await;
            },
        }
        activity.touch();
        if queue.is_empty() {
            sink.flush().await.map_err(io::Error::other)?;
        }
    }
}

async fn part<T>(mut sink: T, parting: Parting) -> io::Result<()>
where
    T: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let code = match parting {
        Parting::Done => CloseCode::Normal,
        Parting::Fault => CloseCode::Protocol,
        Parting::TooLarge => CloseCode::Size,
    };
    let close = Message::Close(Some(CloseFrame { code, reason: Default::default() }));
    sink.send(close).await.map_err(io::Error::other)
}
