//! Keeping one service running.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use berth_config::Service;
use berth_errors::chain;
use rustix::process::Signal;
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::backoff::Backoff;
use crate::launch::{Launcher, Running};

/// Tells once whether the service came to serve.
type Served = oneshot::Sender<Result<(), Error>>;

/// How one process of the service ended.
enum End {
    /// As it was told.
    Stopped,
    /// By itself.
    Died(ExitStatus),
}

/// Starts the service, and again whenever it dies, until `stop`.
///
/// A service that cannot start, or ends by itself with an exit code before it ever served, is
/// told to `served` and not started again: it has said what is wrong, and it would say it again. One whose
/// `served` nobody has is started again all the same, later each time: what is wrong may lie elsewhere and
/// pass, and there is nobody who would stop for it.
pub(crate) async fn keep(
    launcher: Arc<Launcher>,
    service: Service,
    stop: CancellationToken,
    mut served: Option<Served>,
) {
    let mut backoff = Backoff::default();
    while !stop.is_cancelled() {
        let began = Instant::now();
        let end = live(&launcher, service, &stop, &mut served).await;
        let lived = began.elapsed();
        let wait = backoff.after(lived);
        match (end, served.take()) {
            (Ok(End::Stopped), _) => return,
            (Ok(End::Died(status)), Some(served)) if status.code().is_some() => {
                // When nobody waits any more, everything is being stopped.
                let _ = served.send(Err(Error::Refused { service, status }));
                return;
            }
            (Err(error), Some(served)) => {
                let _ = served.send(Err(error));
                return;
            }
            (Ok(End::Died(status)), waiting) => {
                tracing::error!(%service, %status, ?lived, ?wait, "died, starting it again");
                served = waiting;
            }
            (Err(error), None) => {
                tracing::error!(%service, error = chain(&error), ?wait, "trying again");
            }
        }
        // Stopped while waiting: the loop ends.
        stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}

/// One process of the service from its start to its end.
async fn live(
    launcher: &Launcher,
    service: Service,
    stop: &CancellationToken,
    served: &mut Option<Served>,
) -> Result<End, Error> {
    // What is told while it starts waits until it listens: it may have read what has changed since.
    let told = launcher.told.subscribe();
    let mut running = launcher.start(service, served.is_some())?;
    if let Some(serves) = stop.run_until_cancelled(running.serves()).await
        && serves?
    {
        tracing::info!(%service, "serves");
        if let Some(served) = served.take() {
            let _ = served.send(Ok(()));
        }
    }
    watch(&mut running, told, stop).await
}

async fn watch(
    running: &mut Running,
    mut told: broadcast::Receiver<Signal>,
    stop: &CancellationToken,
) -> Result<End, Error> {
    loop {
        tokio::select! {
            status = running.ended() => return status.map(End::Died),
            Ok(signal) = told.recv() => running.signal(signal)?,
            () = stop.cancelled() => break,
        }
    }
    running.stop().await.map(|()| End::Stopped)
}
