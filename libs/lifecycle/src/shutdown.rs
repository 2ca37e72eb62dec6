//! When this process should end.

use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::Error;
use crate::inherited::{self, LIFELINE_FD};
use crate::rest::rest;
use crate::systemd;

/// Listens for orders to end from now on. What it answers is done when there was one, with the reason:
/// SIGTERM, SIGINT, or the closing of the supervisor's lifeline. It is to be called before a process
/// does anything else: what it is told while it starts is then heard, and it drains. What
/// it allocates from then on comes from few heaps, and while it waits, it lets memory go whenever it
/// comes to rest, and gives systemd the signs of life that it wants.
///
/// # Errors
/// [`Error::Signals`] or [`Error::Pipe`] when it could not be listened for.
pub fn shutdown_signal() -> Result<impl Future<Output = Result<&'static str, Error>>, Error> {
    berth_memory::few_arenas();
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let lifeline = inherited::take(LIFELINE_FD)?;
    inherited::keep_ready()?;
    Ok(async move {
        let reason = tokio::select! {
            () = rest() => std::future::pending().await,
            () = systemd::live() => std::future::pending().await,
            _ = terminate.recv() => Ok("SIGTERM"),
            _ = interrupt.recv() => Ok("SIGINT"),
            closed = closed(lifeline) => closed.map(|()| "the supervisor ended"),
        };
        systemd::stopping();
        reason
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_that_comes_before_anybody_waits_for_it_is_heard() {
        let told = shutdown_signal().unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .unwrap();
        assert_eq!(told.await.unwrap(), "SIGTERM");
    }
}
