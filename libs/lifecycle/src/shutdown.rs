//! When this process should end.

use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::Error;
use crate::inherited::{self, LIFELINE_FD};
use crate::rest::rest;

/// Returns when the process should end, with the reason: SIGTERM, SIGINT, or the closing of the
/// supervisor's lifeline. The handlers are in place once this was first polled. While it waits, the
/// process lets memory go whenever it comes to rest.
///
/// # Errors
/// [`Error::Signals`] or [`Error::Pipe`] when it could not be listened for.
pub async fn shutdown_signal() -> Result<&'static str, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let lifeline = inherited::take(LIFELINE_FD)?;
    tokio::select! {
        () = rest() => std::future::pending().await,
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        closed = closed(lifeline) => closed.map(|()| "the supervisor ended"),
    }
}

/// Returns when the other end of the pipe has been closed; never without a pipe.
async fn closed(lifeline: Option<OwnedFd>) -> Result<(), Error> {
    let Some(lifeline) = lifeline else { return std::future::pending().await };
    let unusable = |source| Error::Pipe {
        variable: LIFELINE_FD,
        value: std::env::var(LIFELINE_FD).unwrap_or_default(),
        source,
    };
    let mut lifeline = pipe::Receiver::from_owned_fd(lifeline).map_err(unusable)?;
    let mut nothing = [0; 16];
    // Nobody writes to it; whatever somebody should write means nothing.
    while lifeline.read(&mut nothing).await.map_err(unusable)? > 0 {}
    Ok(())
}
