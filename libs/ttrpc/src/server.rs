//! The serving side: accepts connections, runs their calls at once, drains when told to.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::handler::{Handler, Limits};
use crate::{Error, requests};

/// Serves a handler.
pub struct Server<H> {
    handler: Arc<H>,
    limits: Limits,
}

impl<H: Handler> Server<H> {
    /// A server with default limits.
    pub fn new(handler: Arc<H>) -> Server<H> {
        Server { handler, limits: Limits::default() }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Server<H> {
        Server { limits, ..self }
    }

    /// Serves until `stop` is ready, then lets running calls finish for at most `drain`.
    ///
    /// Connections of other users than our own and root are closed at once. Every task that was
    /// started has ended when this returns.
    pub async fn serve(
        &self,
        listener: UnixListener,
        stop: impl Future<Output = ()>,
        drain: Duration,
    ) -> Result<(), Error> {
        let stopping = watch::Sender::new(false);
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        let result = loop {
            tokio::select! {
                () = &mut stop => break Ok(()),
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if connections.len() < self.limits.connections => {
                    match accepted {
                        Ok((stream, _)) if allowed(&stream) => {
                            let (handler, stop) = (self.handler.clone(), stopping.subscribe());
                            connections.spawn(requests::serve(stream, handler, self.limits, stop));
                        }
                        Ok(_) => {}
                        // Too few descriptors or buffers: others give some back meanwhile.
                        Err(error) if passing(&error) => tokio::time::sleep(PAUSE).await,
                        Err(error) => break Err(error.into()),
                    }
                }
            }
        };
        drop(listener);
        stopping.send_replace(true);
        let joined = async { while connections.join_next().await.is_some() {} };
        // Whoever is not done by then is aborted below, that is what the bound is for.
        let _ = tokio::time::timeout(drain, joined).await;
        connections.shutdown().await;
        result
    }
}

/// How long accepting rests after an error that passes.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether an error of accept leaves the listener good: it concerned one connection, or a
/// shortage (ENFILE, EMFILE, ENOBUFS, ENOMEM).
fn passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory};
    matches!(error.raw_os_error(), Some(23 | 24 | 105))
        || matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | OutOfMemory)
}

fn allowed(stream: &UnixStream) -> bool {
    let own =
        std::fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta));
    match (stream.peer_cred().as_ref().map(UCred::uid), own) {
        (Ok(peer), Ok(own)) => peer == 0 || peer == own,
        _ => false,
    }
}
