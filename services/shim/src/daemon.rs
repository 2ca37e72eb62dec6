//! The shim itself: serves until its last container is gone and it is told to end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_ttrpc::{Limits, Server};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::api::Api;
use crate::children::Children;
use crate::publisher::{Destination, queue};
use crate::task::Shim;
use crate::{Args, Error, log};

/// How long calls and events may take to end with the shim.
const DRAIN: Duration = Duration::from_secs(5);
/// Without a program that ended for so long, the shim is at rest and lets memory go.
const QUIET: Duration = Duration::from_secs(2);

/// Serves.
pub(crate) async fn serve(
    args: &Args,
    listener: std::os::unix::net::UnixListener,
) -> Result<(), Error> {
    log::open(&std::env::current_dir().map_err(Error::io("find the bundle"))?);
    // The bundle is removed while a pod's shim goes on.
    std::env::set_current_dir("/").map_err(Error::io("leave the bundle"))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| Error::io("become the reaper")(errno.into()))?;
    let listener = listen(listener).map_err(Error::io("listen"))?;
    let socket = listener.local_addr().ok().and_then(|at| at.as_pathname().map(PathBuf::from));
    let (stop, children) = (watch::Sender::new(false), Arc::new(Children::default()));
    let (publisher, events) = queue(&args.namespace, destination(args));
    let shim = Arc::new(Shim::new(&args.namespace, children.clone(), publisher, stop));
    let limits = Limits { connections: 64, ..Limits::default() };
    let server = Server::new(Arc::new(Api::new(shim.clone()))).with_limits(limits);
    // The path goes while the socket still listens: afterwards a new shim of the group may bind it.
    let stopped = async {
        shim.stopped().await;
        if let Some(socket) = socket {
            let _ = std::fs::remove_file(socket);
        }
    };
    let sending = events.run(&children);
    tokio::pin!(sending);
    let served = tokio::select! {
        served = server.serve(listener, stopped, DRAIN) => served.map_err(Error::from),
        failed = watch_signals(&shim) => failed,
        // It goes on as long as there is a publisher, which we hold.
        () = &mut sending => Ok(()),
    };
    drop(server);
    // What is left to do is done by programs, too: somebody has to see them end.
    let rest = async {
        shim.tasks.drain(DRAIN).await;
        drop(shim);
        tokio::time::timeout(DRAIN, sending).await
    };
    if children.reaping(rest).await?.is_err() {
        log::warn("events are lost: nobody took them before the end");
    }
    served
}

/// The socket of a shim that was not started by `start`.
pub(crate) fn bind(args: &Args) -> Result<std::os::unix::net::UnixListener, Error> {
    let path = args.socket.as_deref();
    let path = path.ok_or_else(|| Error::Usage("say start, or name a socket".into()))?;
    std::os::unix::net::UnixListener::bind(path).map_err(Error::io("listen"))
}

fn listen(listener: std::os::unix::net::UnixListener) -> std::io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

fn destination(args: &Args) -> Destination {
    match std::env::var("TTRPC_ADDRESS") {
        Ok(address) if !address.is_empty() => {
            let path = address.strip_prefix("unix://").unwrap_or(&address);
            Destination::Socket(path.into())
        }
        _ => Destination::Program {
            program: args.publish_binary.clone(),
            address: args.address.clone(),
        },
    }
}

/// Reaps children, and stops the server when a signal says so and nothing runs any more.
/// Returns only if it cannot.
///
/// A shim does not leave running containers without their parent: the last of them to end takes
/// it along.
async fn watch_signals(shim: &Arc<Shim>) -> Result<(), Error> {
    let watch = |kind| signal(kind).map_err(Error::io("watch signals"));
    let mut child = watch(SignalKind::child())?;
    let (mut term, mut int) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    let mut ending = false;
    let mut rest = std::pin::pin!(tokio::time::sleep(QUIET));
    let mut rested = false;
    loop {
        tokio::select! {
            () = &mut rest, if !rested => {
                berth_memory::settle();
                rested = true;
            }
            _ = child.recv() => {
                // Work is done by programs that end.
                rest.as_mut().reset(tokio::time::Instant::now() + QUIET);
                rested = false;
                for (pid, exit) in shim.children.reap() {
                    shim.exited(pid, exit);
                }
            }
            _ = term.recv() => ending = true,
            _ = int.recv() => ending = true,
        }
        if ending && !shim.busy() {
            shim.stop();
        }
    }
}
