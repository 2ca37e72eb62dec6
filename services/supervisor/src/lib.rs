//! berthd: the services of one node as one program.
//!
//! Owns: which processes run on a root, in which order they start and end, and when a dead one is
//! started again. Must not know: what a service does, its store or its calls; it speaks to none.
//!
//! Invariants: one supervisor, and one generation of services, per root (two locks); a service
//! never outlives its supervisor for longer than it needs to drain (lifeline); containers belong
//! to their shims and go on whatever happens here; nothing waits for a service that is optional, or ends
//! with it.

mod backoff;
mod error;
mod keep;
mod launch;
mod lock;

pub use error::Error;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use berth_config::{Args, Config, Loaded, Service};
use berth_lifecycle::{Tasks, notify_ready, root, shutdown_signal};
use berth_telemetry::{Live, Reload};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use launch::Launcher;

/// How long all services together may take to serve after a start.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// What of the configuration is read here.
const READS: &[&str] =
    &["root", "state", "oom_score", "cgroup", "opt", "cluster.etcd.endpoints", "cri.enabled"];

/// Runs the services until this process is told to end, then ends them in order.
///
/// # Errors
/// [`Error`] when the root is taken, a service cannot start, or this process cannot be told.
pub async fn run(args: &Args, loaded: Loaded, live: Live) -> Result<(), Error> {
    let told = shutdown_signal()?;
    let config = &loaded.config.clone();
    root::make_folders(&config.root, &config.state)?;
    tokio::pin!(told);
    let (_root, generation) = tokio::select! {
        reason = &mut told => {
            tracing::info!(reason = reason?, "stopping before anything was started");
            return Ok(());
        }
        taken = take(config) => taken?,
    };
    let launcher = Arc::new(Launcher::new(args, config, generation)?);
    let tasks = Tasks::new();
    let (kept, first) = keep_all(config, &launcher, &tasks);
    tasks.spawn_endless(
        "pass-on",
        pass_on(launcher.clone(), SignalKind::user_defined1(), Signal::USR1),
    );
    let hangups = launcher.clone();
    Reload::new(args.clone(), loaded, live, READS)
        .each_time(move || {
            // Nobody is there to be told while all are started again.
            let _ = hangups.told.send(Signal::HUP);
        })
        .attend("berthd", &tasks);

    let outcome = tokio::select! {
        reason = &mut told => reason.map_err(Error::from),
        started = serving(first) => match started {
            Ok(()) => announce(config).and(told.await.map_err(Error::from)),
            Err(error) => Err(error),
        },
    };
    if let Ok(reason) = &outcome {
        tracing::info!(reason, "stopping");
    }
    stop_in_order(kept).await;
    outcome.map(|_| ())
}

/// Makes the root this process's, and this process what the configuration says, once nobody else has
/// the root any more. What is taken is held as long as the files are open.
async fn take(config: &Config) -> Result<(impl Sized + use<>, OwnedFd), Error> {
    let root = lock::root(config).await?;
    set_oom_score(config.oom_score);
    join_cgroup(&config.cgroup)?;
    Ok((root, lock::generation(config).await?))
}

/// What is started from here on inherits it. A machine that does not allow it is no reason not to
/// start, as with containerd.
fn set_oom_score(score: i32) {
    if score == 0 {
        return;
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::error!(%error, score, "set oom_score");
    }
}

/// What is started from here on is in it, too.
fn join_cgroup(path: &str) -> Result<(), Error> {
    if path.is_empty() {
        return Ok(());
    }
    let joined = berth_cgroup::join_or_make(std::process::id(), path);
    joined.map_err(|source| Error::Cgroup { path: path.to_owned(), source })
}

/// Tells all services what this process is told. Listens from now on; what it returns never does.
fn pass_on(
    launcher: Arc<Launcher>,
    kind: SignalKind,
    to_tell: Signal,
) -> impl Future<Output = ()> + Send {
    let told = signal(kind);
    async move {
        // Without a handler whoever sends it ends this process: nothing else can be done about that.
        let Ok(mut told) = told else { return std::future::pending().await };
        while told.recv().await.is_some() {
            let _ = launcher.told.send(to_tell);
        }
    }
}

/// A service that is kept running, and how to end that.
struct Kept {
    service: Service,
    stop: CancellationToken,
    keeper: JoinHandle<()>,
}

/// Starts keeping every service of the node; the second answer resolves when each has served once of those
/// that it is no node without.
fn keep_all(
    config: &Config,
    launcher: &Arc<Launcher>,
    tasks: &Tasks,
) -> (Vec<Kept>, Vec<oneshot::Receiver<Result<(), Error>>>) {
    let mut first = Vec::new();
    let kept = config.services().map(|service| {
        let served = (!service.is_optional()).then(|| {
            let (served, waited) = oneshot::channel();
            first.push(waited);
            served
        });
        let stop = CancellationToken::new();
        let keeping = keep::keep(launcher.clone(), service, stop.clone(), served);
        Kept { service, stop, keeper: tasks.spawn("keep", keeping) }
    });
    (kept.collect(), first)
}

/// Resolves when all services serve, or the first that cannot says why.
async fn serving(first: Vec<oneshot::Receiver<Result<(), Error>>>) -> Result<(), Error> {
    let all = async {
        for served in first {
            // A keeper that is gone without a word was stopped: so are we.
            served.await.unwrap_or(Ok(()))?;
        }
        Ok(())
    };
    deadline(START_DEADLINE, all).await
}

async fn deadline(
    limit: Duration,
    work: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::StartDeadline(limit)))
}

fn announce(config: &Config) -> Result<(), Error> {
    tracing::info!(address = %config.address.display(), "ready");
    Ok(notify_ready()?)
}

/// Ends the services in the reverse order of their start: first those that call the others.
async fn stop_in_order(kept: Vec<Kept>) {
    for Kept { service, stop, keeper } in kept.into_iter().rev() {
        stop.cancel();
        if keeper.await.is_err() {
            tracing::error!(%service, "its keeper panicked; the service was killed with it");
        }
    }
}
