//! One multiplexed connection to a service's socket, made again when it has ended.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_errors::chain;
use berth_lifecycle::Tasks;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::body::Outbound;
use crate::window;

/// How often a socket is tried while nobody listens: after the first delay, doubling up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(2);
const LAST_RETRY: Duration = Duration::from_millis(50);
/// A service with calls under way that answers no ping for so long is given up.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Hands requests to the connection. Clones share it.
pub type Sender = http2::SendRequest<Outbound>;

/// The place of one connection.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    tasks: Tasks,
    current: Mutex<Option<Sender>>,
    /// Held by the one call that connects on behalf of all that wait.
    making: tokio::sync::Mutex<()>,
}

impl Connection {
    /// No connection yet.
    #[must_use]
    pub fn new(path: PathBuf, tasks: Tasks) -> Self {
        Self { path, tasks, current: Mutex::default(), making: tokio::sync::Mutex::default() }
    }

    /// The connection, if it is up.
    #[must_use]
    pub fn current(&self) -> Option<Sender> {
        self.lock().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    /// The connection, made if it is not up, tried until the given moment.
    ///
    /// # Errors
    /// What the last attempt said.
    pub async fn make(&self, until: Instant) -> io::Result<Sender> {
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        let attempts = async {
            let _making = self.making.lock().await;
            let mut delay = FIRST_RETRY;
            loop {
                if let Some(sender) = self.current() {
                    return sender;
                }
                match self.dial().await {
                    Ok(sender) => {
                        *self.lock() = Some(sender.clone());
                        return sender;
                    }
                    Err(error) => last = error,
                }
                sleep_until(Instant::now() + delay).await;
                delay = (delay * 2).min(LAST_RETRY);
            }
        };
        let made = timeout_at(until, attempts).await;
        made.map_err(|_| last)
    }

    async fn dial(&self) -> io::Result<Sender> {
        let stream = UnixStream::connect(&self.path).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(window::STREAM)
            .initial_connection_window_size(window::CONNECTION)
            .max_frame_size(window::FRAME)
            .max_header_list_size(window::HEADERS)
            .initial_max_send_streams(window::STREAMS as usize)
            .max_concurrent_reset_streams(window::RESETS)
            .max_local_error_reset_streams(window::RESETS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let path = self.path.clone();
        self.tasks.spawn("upstream-connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(path = %path.display(), error = chain(&error), "connection ended");
            }
        });
        Ok(sender)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sender>> {
        // The slot is whole at any time: a panic elsewhere cannot have torn it.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
