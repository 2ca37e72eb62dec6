//! One multiplexed connection to a service's socket, made again when it has ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_errors::chain;
use berth_lifecycle::Tasks;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::outgoing::Outgoing;
use crate::tuning::Tuning;

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

/// Hands requests to the connection. Clones share it.
type Sender = http2::SendRequest<Outgoing>;

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    path: PathBuf,
    tuning: Tuning,
    tasks: Option<Tasks>,
    current: Mutex<Option<Made>>,
    /// Held by the one call that connects on behalf of all that wait.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Made {
    sender: Sender,
    /// The socket once more, to be asked whether the other side is there.
    socket: OwnedFd,
}

impl Connection {
    /// No connection yet. The task that moves its bytes is one of `tasks`, if those are given; it
    /// ends with the connection, which ends with this or with the service.
    pub(super) fn new(path: PathBuf, tuning: Tuning, tasks: Option<Tasks>) -> Self {
        let making = tokio::sync::Mutex::default();
        Self { path, tuning, tasks, current: Mutex::default(), making }
    }

    /// The service's socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The connection, if it is up. One whose service has just gone is not, even if nobody has
    /// read the end of it yet: a call that it took could not be told from one that was carried out.
    pub(super) fn current(&self) -> Option<Sender> {
        let current = self.lock();
        let made = current.as_ref()?;
        (!made.sender.is_closed() && !hung_up(&made.socket)).then(|| made.sender.clone())
    }

    /// The connection, made if it is not up, tried once and then until the given moment.
    /// Fails with what the last attempt said.
    pub(super) async fn make(&self, until: Instant) -> io::Result<Sender> {
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

    async fn dial(&self) -> io::Result<Made> {
        let stream = UnixStream::connect(&self.path).await?;
        let socket = stream.as_fd().try_clone_to_owned()?;
        let Tuning { stream_window, connection_window, frame, headers, streams, resets } =
            self.tuning;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(stream_window)
            .initial_connection_window_size(connection_window)
            .max_frame_size(frame)
            .max_header_list_size(headers)
            .initial_max_send_streams(streams as usize)
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

    fn lock(&self) -> MutexGuard<'_, Option<Made>> {
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
