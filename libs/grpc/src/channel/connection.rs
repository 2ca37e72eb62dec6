//! One multiplexed connection to a service's socket, made again when it has ended.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use berth_errors::chain;
use berth_lifecycle::Tasks;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::socket::Socket;
use crate::tuning::Tuning;

/// How often a socket is tried while nobody listens: a service that starts needs some milliseconds,
/// for which it is tried after the first delay each time; then the delay doubles up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(1);
const EAGER_TRIES: u32 = 40;
const LAST_RETRY: Duration = Duration::from_millis(50);
/// The most that one attempt may take, however short the wait: it asks the kernel alone.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Bytes of one call that may wait to be written.
const SEND_BUFFER: usize = 1 << 20;

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    path: PathBuf,
    tuning: Tuning,
    silence: Duration,
    greeted: bool,
    tasks: Option<Tasks>,
    current: Mutex<Option<Made>>,
    /// Held by the one call that connects on behalf of all that wait.
    making: tokio::sync::Mutex<()>,
}

/// The connection, as one call has it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) sender: SendRequest<Bytes>,
    /// To be held while the call is under way.
    pub(super) under_way: Arc<()>,
}

#[derive(Debug)]
struct Made {
    link: Link,
    /// The socket once more, to be asked whether the other side is there. It is the task's: with it the
    /// connection ends for the other side too.
    socket: Weak<OwnedFd>,
    /// Its other end goes with the connection.
    ended: watch::Receiver<()>,
}

impl Connection {
    /// No connection yet. Its tasks are some of `tasks`, if those are given; they end with the
    /// connection, which ends with this or with the service, or when that has calls under way and
    /// leaves a ping unanswered for as long as `silence`. It counts once the service has said
    /// something, if it is to be `greeted`.
    pub(super) fn new(
        path: PathBuf,
        tuning: Tuning,
        silence: Duration,
        greeted: bool,
        tasks: Option<Tasks>,
    ) -> Self {
        let making = tokio::sync::Mutex::default();
        Self { path, tuning, silence, greeted, tasks, current: Mutex::default(), making }
    }

    /// The service's socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The connection, if it is up. One whose service has just gone is not, even if nobody has
    /// read the end of it yet: a call that it took could not be told from one that was carried out.
    pub(super) fn current(&self) -> Option<Link> {
        let mut current = self.lock();
        let made = current.as_mut()?;
        made.is_up().then(|| made.link.clone())
    }

    /// The connection, made if it is not up, tried once and then until the given moment.
    /// Fails with what the last attempt said.
    pub(super) async fn make(&self, until: Instant) -> io::Result<Link> {
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        let attempts = async {
            let _making = self.making.lock().await;
            let (mut delay, mut tries) = (FIRST_RETRY, 0);
            loop {
                if let Some(link) = self.current() {
                    return Some(link);
                }
                match self.dial().await {
                    Ok(made) => {
                        let link = made.link.clone();
                        *self.lock() = Some(made);
                        return Some(link);
                    }
                    Err(error) => last = error,
                }
                let now = Instant::now();
                if now >= until {
                    return None;
                }
                sleep_until(until.min(now + delay)).await;
                tries += 1;
                if tries >= EAGER_TRIES {
                    delay = (delay * 2).min(LAST_RETRY);
                }
            }
        };
        let made = timeout_at(until.max(Instant::now() + ATTEMPT), attempts).await;
        made.ok().flatten().ok_or(last)
    }

    /// Returns when the connection that was made last has ended; at once when there was none.
    pub(super) async fn ended(&self) {
        let made = self.lock().as_ref().map(|made| made.ended.clone());
        if let Some(mut ended) = made {
            // Nothing is ever sent: an error is the end.
            let _ = ended.changed().await;
        }
    }

    async fn dial(&self) -> io::Result<Made> {
        let stream = UnixStream::connect(&self.path).await?;
        let socket = Arc::new(stream.as_fd().try_clone_to_owned()?);
        let Tuning { stream_window, connection_window, frame, headers, streams, resets } =
            self.tuning;
        let (sender, mut connection) = Builder::new()
            .initial_window_size(stream_window)
            .initial_connection_window_size(connection_window)
            .max_frame_size(frame)
            .max_header_list_size(headers)
            .initial_max_send_streams(streams as usize)
            .max_concurrent_reset_streams(resets)
            .max_local_error_reset_streams(Some(resets))
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false)
            .handshake(Socket::new(stream)?)
            .await
            .map_err(io::Error::other)?;
        let mut pings = connection.ping_pong();
        if self.greeted {
            tokio::select! {
                ended = &mut connection => return Err(lost(ended)),
                there = answers(&mut pings) => there?,
            }
        }
        let link = Link { sender, under_way: Arc::default() };
        let silence = silence(pings, link.under_way.clone(), self.silence);
        let path = self.path.clone();
        let (end, ended) = watch::channel(());
        let looked_at = Arc::downgrade(&socket);
        self.spawn("upstream-connection", async move {
            let (path, _end, _socket) = (path.display(), end, socket);
            tokio::select! {
                biased;
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%path, error = chain(&error), "connection ended");
                },
                () = silence => tracing::warn!(%path, "service does not answer, given up"),
            }
        });
        Ok(Made { link, socket: looked_at, ended })
    }

    /// Starts a task that ends with the connection, which outlives the call that opens it.
    pub(super) fn spawn(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        match &self.tasks {
            Some(tasks) => drop(tasks.spawn_apart(name, work)),
            #[expect(clippy::disallowed_methods, reason = "ends with the channel or the peer")]
            None => drop(tokio::spawn(work)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Made>> {
        // The slot is whole at any time: a panic elsewhere cannot have torn it.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Made {
    fn is_up(&mut self) -> bool {
        let ready = self.link.sender.poll_ready(&mut Context::from_waker(Waker::noop()));
        let open = self.socket.upgrade().is_some_and(|socket| !hung_up(&socket));
        matches!(ready, Poll::Ready(Ok(()))) && open
    }
}

/// Whether the other side of a connection has closed it.
fn hung_up(socket: &OwnedFd) -> bool {
    let wanted = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut asked = [PollFd::new(socket, wanted)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&now)).is_ok_and(|count| count > 0)
}

/// Returns when the other side has said something. A socket may outlive who listened there: a child
/// that a killed service was making has it until it is a program of its own, and what is sent then
/// is lost with it.
async fn answers(pings: &mut Option<PingPong>) -> io::Result<()> {
    // There are pings: nobody has taken them before.
    let Some(pings) = pings else { return Ok(()) };
    pings.ping(Ping::opaque()).await.map(drop).map_err(io::Error::other)
}

/// Why a connection has ended before it was one.
fn lost(ended: Result<(), h2::Error>) -> io::Error {
    ended.err().map_or_else(|| io::ErrorKind::ConnectionReset.into(), io::Error::other)
}

/// Ends when the service has calls under way and has not answered a ping for so long.
async fn silence(pings: Option<PingPong>, under_way: Arc<()>, longest: Duration) {
    // There are pings: nobody has taken them before.
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        sleep(longest).await;
        // One is held here, one where the calls get theirs.
        if Arc::strong_count(&under_way) > 2
            && timeout(longest, pings.ping(Ping::opaque())).await.is_err()
        {
            return;
        }
    }
}
