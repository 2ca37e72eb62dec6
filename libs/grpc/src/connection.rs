//! One multiplexed connection to a service's socket, made again when it has ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_errors::chain;
use berth_lifecycle::Tasks;
use http_body::Body;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How often a socket is tried while nobody listens: a service that starts needs some milliseconds,
/// for which it is tried after the first delay each time; then the delay doubles up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(1);
const EAGER_TRIES: u32 = 40;
const LAST_RETRY: Duration = Duration::from_millis(50);
/// The most that one attempt may take, however short the wait: it asks the kernel alone.
const ATTEMPT: Duration = Duration::from_secs(1);
/// A service with calls under way that answers no ping for so long is given up.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// HTTP/2 settings of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Bytes of one stream that may be buffered here.
    pub stream_window: u32,
    /// Bytes of all streams.
    pub connection_window: u32,
    /// Bytes of one frame.
    pub frame: u32,
    /// Bytes of all headers of an answer.
    pub headers: u32,
    /// Calls at once before the service says how many it takes.
    pub streams: usize,
    /// Calls that may be reset before the connection is closed.
    pub resets: usize,
}

/// Hands requests to the connection. Clones share it.
pub type Sender<B> = http2::SendRequest<B>;

/// The place of one connection, over which bodies `B` are sent.
#[derive(Debug)]
pub struct Connection<B> {
    path: PathBuf,
    tuning: Tuning,
    tasks: Option<Tasks>,
    current: Mutex<Option<Made<B>>>,
    /// Held by the one call that connects on behalf of all that wait.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Made<B> {
    sender: Sender<B>,
    /// The socket once more, to be asked whether the other side is there.
    socket: Arc<OwnedFd>,
}

impl<B> Connection<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// No connection yet. The task that moves its bytes is one of `tasks`, if those are given; it
    /// ends with the connection, which ends with this or with the service.
    #[must_use]
    pub fn new(path: PathBuf, tuning: Tuning, tasks: Option<Tasks>) -> Self {
        let making = tokio::sync::Mutex::default();
        Self { path, tuning, tasks, current: Mutex::default(), making }
    }

    /// The service's socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The connection, if it is up. One whose service has just gone is not, even if nobody has
    /// read the end of it yet: a call that it took could not be told from one that was carried out.
    #[must_use]
    pub fn current(&self) -> Option<Sender<B>> {
        let current = self.lock();
        let made = current.as_ref()?;
        (!made.sender.is_closed() && !hung_up(&made.socket)).then(|| made.sender.clone())
    }

    /// The connection, made if it is not up, tried once and then until the given moment.
    ///
    /// # Errors
    /// What the last attempt said.
    pub async fn make(&self, until: Instant) -> io::Result<Sender<B>> {
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        let attempts = async {
            let _making = self.making.lock().await;
            let (mut delay, mut tries) = (FIRST_RETRY, 0);
            loop {
                if let Some(sender) = self.current() {
                    return Some(sender);
                }
                match self.dial().await {
                    Ok(made) => {
                        let sender = made.sender.clone();
                        *self.lock() = Some(made);
                        return Some(sender);
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

    async fn dial(&self) -> io::Result<Made<B>> {
        let stream = UnixStream::connect(&self.path).await?;
        let socket = Arc::new(stream.as_fd().try_clone_to_owned()?);
        let Tuning { stream_window, connection_window, frame, headers, streams, resets } =
            self.tuning;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(stream_window)
            .initial_connection_window_size(connection_window)
            .max_frame_size(frame)
            .max_header_list_size(headers)
            .initial_max_send_streams(streams)
            .max_concurrent_reset_streams(resets)
            .max_local_error_reset_streams(resets)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let path = self.path.clone();
        let moving = async move {
            if let Err(error) = connection.await {
                tracing::debug!(path = %path.display(), error = chain(&error), "connection ended");
            }
        };
        match &self.tasks {
            Some(tasks) => drop(tasks.spawn("upstream-connection", moving)),
            #[expect(clippy::disallowed_methods, reason = "ends with the last sender or the peer")]
            None => drop(tokio::spawn(moving)),
        }
        Ok(Made { sender, socket })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Made<B>>> {
        // The slot is whole at any time: a panic elsewhere cannot have torn it.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the other side of a connection has closed it.
fn hung_up(socket: &OwnedFd) -> bool {
    let wanted = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut asked = [PollFd::new(socket, wanted)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&now)).is_ok_and(|count| count > 0)
}
