//! A connection after its upgrade: its protocol's two sides, and the session between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::channel::{Link, Parting};
use crate::drive::{Activity, Driven};
use crate::handshake::Spoken;
use crate::session::{
    Carrier, Remote, collect, forward_channels, forward_pairs, is_port_stream, of_channels,
};
use crate::spdy::{self, Opened, Reader};
use crate::status::Dialect;
use crate::websocket::{self, Channels, Form, Tunnel};
use crate::{Limits, Request, Sessions};

/// Streams that a command may have open: five that mean something, and some that do not.
const COMMAND_STREAMS: usize = 16;
/// New streams that wait to be looked at.
const OPENED: usize = 16;
/// How long channels of ports may take to end after their client is gone.
const AFTERMATH: Duration = Duration::from_secs(5);

/// One connection.
pub(crate) struct Upgraded<'a, S: Sessions> {
    pub(crate) sessions: Arc<S>,
    pub(crate) limits: &'a Limits,
    pub(crate) request: Request<S::What>,
}

impl<S: Sessions> Upgraded<'_, S> {
    /// Serves it to its end.
    pub(crate) async fn run<T>(self, io: T, spoken: Spoken)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let limits = self.limits;
        match (spoken, Remote::of(self.request)) {
            (Spoken::SpdyCommand { dialect, resizes }, Ok(remote)) => {
                spdy_command(self.sessions, limits, remote, dialect, resizes, io).await;
            }
            (Spoken::ChannelCommand { dialect, form, closes }, Ok(remote)) => {
                let told = Told { dialect, form, closes };
                channel_command(self.sessions, limits, remote, told, io).await;
            }
            (spoken, Err(Request::PortForward { what, pod, ports })) => {
                let carrier = Carrier::new(self.sessions, what, pod);
                match spoken {
                    Spoken::SpdyPorts => spdy_ports(limits, carrier, io).await,
                    Spoken::TunnelPorts => {
                        let tunnel = Tunnel::new(websocket::accepted(io, limits).await);
                        spdy_ports(limits, carrier, tunnel).await;
                    }
                    Spoken::ChannelPorts { form } => {
                        channel_ports(limits, carrier, ports, form, io).await;
                    }
                    Spoken::SpdyCommand { .. } | Spoken::ChannelCommand { .. } => {}
                }
            }
            // The handshake chose for the request's kind.
            _ => {}
        }
    }
}

async fn spdy_command<S: Sessions, T: AsyncRead + AsyncWrite + Unpin>(
    sessions: Arc<S>,
    limits: &Limits,
    remote: Remote<S::What>,
    dialect: Dialect,
    resizes: bool,
    io: T,
) {
    let gone = CancellationToken::new();
    let (told, seen) = (gone.clone(), gone.clone());
    let most = COMMAND_STREAMS.min(limits.streams);
    spdy(
        limits,
        io,
        gone,
        |_| true,
        most,
        |opened| async move {
            let found =
                tokio::time::timeout(limits.creation, collect(opened, remote.asked, resizes));
            let set = tokio::select! {
                found = found => found.unwrap_or_else(|_| {
                    tracing::info!("timed out waiting for client to create streams");
                    None
                }),
                () = seen.cancelled() => None,
            };
            if let Some(set) = set {
                remote.run(sessions, set, dialect, told).await;
            }
        },
    )
    .await;
}

async fn spdy_ports<S: Sessions, T: AsyncRead + AsyncWrite + Unpin>(
    limits: &Limits,
    carrier: Carrier<S>,
    io: T,
) {
    let gone = CancellationToken::new();
    let session = |opened| forward_pairs(carrier, opened, limits);
    spdy(limits, io, gone, is_port_stream, limits.streams, session).await;
}

/// Drives a connection of SPDY and the session that its new streams go to.
async fn spdy<T, F>(
    limits: &Limits,
    io: T,
    gone: CancellationToken,
    accepts: fn(&spdy::Headers) -> bool,
    most: usize,
    session: impl FnOnce(mpsc::Receiver<Opened>) -> F,
) where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
{
    let (read, write) = tokio::io::split(io);
    let (link, queue) = Link::new();
    let (opened, new) = mpsc::channel(OPENED);
    let (owed, activity) = (link.owed.clone(), Activity::new());
    let io = BufReader::with_capacity(16 << 10, read);
    let reader = Reader { io, link, activity: activity.clone(), opened, accepts, most };
    let writer = spdy::write(write, queue, owed.clone(), activity.clone());
    let driven = Driven { owed: owed.clone(), activity, gone, limits };
    let session = async {
        session(new).await;
        owed.finish(Parting::Done);
    };
    // In boxes, as futures around futures copy them.
    let (reader, writer) = (Box::pin(reader.run()), Box::pin(writer));
    tokio::join!(driven.run(reader, writer), Box::pin(session));
}

/// How a command's channels speak.
struct Told {
    dialect: Dialect,
    form: Form,
    closes: bool,
}

async fn channel_command<S: Sessions, T: AsyncRead + AsyncWrite + Unpin>(
    sessions: Arc<S>,
    limits: &Limits,
    remote: Remote<S::What>,
    told: Told,
    io: T,
) {
    let (link, queue) = Link::new();
    let (feeds, set) = of_channels(&link, remote.asked);
    let Some(mut set) = set else { return };
    // The first message tells a client that channels are there.
    let first = match (&set.stdout, &set.stderr) {
        (Some(stdout), _) => stdout.open(),
        (None, Some(stderr)) => stderr.open(),
        (None, None) => set.error.open(),
    };
    set.unused.clear();
    let gone = CancellationToken::new();
    let session = remote.run(sessions, set, told.dialect, gone.clone());
    let session = async {
        first.await;
        session.await;
    };
    channels(limits, io, (link, queue), feeds, told, gone, session).await;
}

async fn channel_ports<S: Sessions, T: AsyncRead + AsyncWrite + Unpin>(
    limits: &Limits,
    carrier: Carrier<S>,
    ports: Vec<u16>,
    form: Form,
    io: T,
) {
    let (link, queue) = Link::new();
    let (mut feeds, mut opened) = (BTreeMap::new(), Vec::new());
    // As many as a channel's number can tell apart; in base64 that is a character of ASCII.
    let most = if form == Form::Base64 { 39 } else { 126 };
    for (channel, port) in (0..=most).map(|pair: u8| 2 * pair).zip(ports) {
        let (feed, input, output) = link.open(channel.into());
        feeds.insert(channel, feed);
        // What a client says on a channel of errors is read, and dropped.
        let (error_feed, _, error) = link.open(u32::from(channel) + 1);
        feeds.insert(channel + 1, error_feed);
        opened.push((port, (input, output), error));
    }
    let gone = CancellationToken::new();
    let told = Told { dialect: Dialect::Text, form, closes: false };
    let ended = gone.clone();
    let session = async {
        let cut = async {
            ended.cancelled().await;
            tokio::time::sleep(AFTERMATH).await;
        };
        tokio::select! {
            () = forward_channels(carrier, opened) => {}
            () = cut => tracing::info!("connections of a client that is gone are cut off"),
        }
    };
    channels(limits, io, (link, queue), feeds, told, gone, session).await;
}

/// Drives a WebSocket of channels and the session on them.
async fn channels<T: AsyncRead + AsyncWrite + Unpin>(
    limits: &Limits,
    io: T,
    (link, queue): (Link, mpsc::Receiver<crate::channel::Piece>),
    feeds: BTreeMap<u8, crate::channel::Feed>,
    told: Told,
    gone: CancellationToken,
    session: impl Future<Output = ()>,
) {
    let (sink, messages) = websocket::accepted(io, limits).await.split();
    let (owed, activity) = (link.owed.clone(), Activity::new());
    let reader =
        Channels { form: told.form, closes: told.closes, feeds, activity: activity.clone() };
    let writer = websocket::write(sink, told.form, queue, owed.clone(), activity.clone());
    let driven = Driven { owed: owed.clone(), activity, gone, limits };
    let session = async {
        session.await;
        owed.finish(Parting::Done);
    };
    // The queue lives as long as there is a link.
    let driven = async {
        let _link = link;
        driven.run(Box::pin(reader.run(messages)), Box::pin(writer)).await;
    };
    tokio::join!(driven, Box::pin(session));
}
