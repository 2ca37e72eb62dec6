//! Calling another service.
//!
//! While nobody answers, a call waits for its own deadline or [`PEER_WAIT`], whichever is sooner;
//! then it is UNAVAILABLE and the message names the service. A call goes to a connection of which
//! the kernel says that the service is there; one that was sent is never repeated: whether it was
//! carried out is not known. [`broke_off`] tells such an answer, for callers whose call may be
//! repeated.
//!
//! Generated clients call through `tower::Service`; [`Channel::relay`] passes on a call that
//! somebody else made. Both go the same way.
//!
//! | module | what it does |
//! |---|---|
//! | `exchange`, `call` | one call, from its request to the head of its answer |
//! | `outgoing`, `upload`, `answer` | the bodies, which nobody looks into |
//! | `connection` | the connection, made again when it has ended |
//! | `error` | why there is no answer |

mod answer;
mod call;
mod connection;
mod error;
mod exchange;
mod outgoing;
mod upload;

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use berth_lifecycle::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use crate::lengths::Bounded;
use crate::tuning::{self, Tuning};
use connection::Connection;
use error::Error;
use outgoing::Outgoing;

pub use answer::Answer;

/// How long a call waits for a peer that is being restarted.
pub const PEER_WAIT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(20);

/// A way to one service. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Channel(Arc<Peer>);

/// What a channel is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What errors call the service.
    pub service: String,
    /// What errors say is to be done about one that is away.
    pub advice: String,
    /// How long a call waits for a service that is away.
    pub wait: Duration,
    /// Of the connection.
    pub tuning: Tuning,
    /// How long a service with calls under way may leave a ping unanswered; then it is given up.
    pub silence: Duration,
    /// Whether calls are only sent once the other side has said something. Without it one that is
    /// stopped may take them later, and what is sent to a socket that outlives its process is lost.
    pub greeted: bool,
    /// The tasks of the connection are some of these, if they are given. They end with the channel
    /// or with the service.
    pub tasks: Option<Tasks>,
}

#[derive(Debug)]
struct Peer {
    service: String,
    advice: String,
    /// In microseconds.
    wait: AtomicU64,
    connection: Connection,
}

impl Peer {
    fn wait(&self) -> Duration {
        Duration::from_micros(self.wait.load(Ordering::Relaxed))
    }
}

fn micros(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)
}

/// A channel to the service on a unix socket. Nothing is connected until the first call, and a
/// lost connection is made again by the next one.
#[must_use]
pub fn channel(path: &Path) -> Channel {
    Channel::new(path, Settings::of(path))
}

/// Whether a call was cut off after it was sent.
#[must_use]
pub fn broke_off(status: &Status) -> bool {
    let cause = std::error::Error::source(status).and_then(|cause| cause.downcast_ref::<Error>());
    matches!(cause, Some(Error::BrokenOff { .. }))
}

impl Settings {
    /// Those of a channel between services, which are called as their sockets.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let service = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let (wait, silence, tuning) = (PEER_WAIT, SILENCE, tuning::SERVICES);
        let advice = "see `journalctl -u berth` for why it is down".to_owned();
        Self { service, advice, wait, silence, tuning, greeted: true, tasks: None }
    }
}

impl Channel {
    /// A channel to the service that listens on `path`, or will.
    #[must_use]
    pub fn new(path: &Path, settings: Settings) -> Self {
        let Settings { service, advice, wait, silence, tuning, greeted, tasks } = settings;
        let connection = Connection::new(path.to_owned(), tuning, silence, greeted, tasks);
        let wait = AtomicU64::new(micros(wait));
        Self(Arc::new(Peer { service, advice, wait, connection }))
    }

    /// How long calls that are made from now on wait for a service that is away; of all clones.
    pub fn set_wait(&self, wait: Duration) {
        self.0.wait.store(micros(wait), Ordering::Relaxed);
    }

    /// Passes on a call that somebody else made: bodies, trailers and the caller's deadline as
    /// they come. Returns with the head of the answer, of which the body is still to come.
    ///
    /// # Errors
    /// Whatever kept the service from answering, by its name.
    pub async fn relay(
        &self,
        request: Request<Bounded<Incoming>>,
    ) -> Result<Response<Answer>, Status> {
        exchange::exchange(&self.0, request.map(Outgoing::Relayed)).await
    }

    /// Whether the service takes a connection within this time.
    pub async fn is_there(&self, within: Duration) -> bool {
        self.connect(within).await.is_ok()
    }

    /// Connects before the first call, if it is not done: tries once, and then for so long.
    ///
    /// # Errors
    /// What the last try said.
    pub async fn connect(&self, within: Duration) -> io::Result<()> {
        let connection = &self.0.connection;
        if connection.current().is_none() {
            connection.make(Instant::now() + within).await?;
        }
        Ok(())
    }

    /// Returns when the connection that was made last has ended; at once when there was none.
    pub async fn ended(&self) {
        self.0.connection.ended().await;
    }
}

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = self.0.clone();
        Box::pin(async move { exchange::exchange(&peer, request.map(Outgoing::Own)).await })
    }
}
