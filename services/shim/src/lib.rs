//! The shim: holds the containers of one task, or of one pod, on top of runc.
//!
//! Owns: the container's processes (it is their parent, reaps them and keeps their exits until
//! they are deleted), their streams, their events and the mount of their root file system. Must
//! not know: images, snapshots, any store; nothing on disk outside its bundle and its socket.
//!
//! Invariants:
//! - One thread. What happens between two awaits is not interrupted by an exit, so that a child
//!   that was just started is registered before it can be reaped.
//! - Events of a process go out in the order create, start, exit, delete; the exit of the first
//!   process of a container goes out after those of its others.
//! - A caller that goes away leaves nothing half done: what changes state runs in a task of its
//!   own.
//! - While runc works somebody reads what it prints: it ends whatever it says, and what it says is no output of the
//!   container.
//! - Small above all: there is one such process per container or pod.

mod api;
mod args;
mod bundle;
mod cgroup;
mod children;
mod cleanup;
mod clock;
mod criu;
mod daemon;
mod error;
mod events;
mod handover;
mod info;
mod io;
mod log;
mod patience;
mod publisher;
mod runc;
mod runs;
mod socket;
mod start;
mod task;
mod tasks;

pub use args::{Action, Args};
pub use error::Error;
use start::Started;

/// Does what the command line asks for.
pub fn run(args: Args) -> Result<(), Error> {
    match args.action {
        Action::Version => {
            println!("containerd-shim-runc-v2 (berth) {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Action::Info => block_on(info::info())?,
        Action::Start => match start::start(args)? {
            Started::Told => Ok(()),
            Started::Daemon(args, listener) => block_on(daemon::serve(&args, listener))?,
        },
        Action::Delete => block_on(cleanup::delete(&args))?,
        Action::Serve => {
            let listener = daemon::bind(&args)?;
            block_on(daemon::serve(&args, listener))?
        }
    }
}

/// Runs a future on a runtime of one thread.
fn block_on<F: Future>(future: F) -> Result<F::Output, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(future))
        .map_err(|source| Error::Io { step: "start the runtime".into(), source })
}
