//! How a process of berth lives: named tasks, shutdown, children, readiness.
//!
//! Owns: every spawned task ([`Tasks`]), every started program ([`child`]), the pipes that tie a
//! service to the supervisor (lifeline, ready), what it and systemd tell each other, the node's two
//! folders ([`root`]), the blocking pool's front door ([`blocking`]), how many do something at once
//! ([`Turns`]), who waits for whom by a key ([`Keyed`]), how long before something is tried again ([`Pauses`]), why a process cannot do its work, if so ([`check`],
//! [`hindrances`]), and that one at rest lets memory go.
//! Must not know: what any task or program does, nor any wire type.
//!
//! Environment, set by `berthd` for its children and by nobody else:
//!
//! | variable | meaning |
//! |---|---|
//! | `BERTH_LIFELINE_FD` | read end of a pipe; its closing is an order to end, as SIGTERM is |
//! | `BERTH_READY_FD` | write end of a pipe; one byte is written when the service serves |
//! | `BERTH_NODE_STARTS` | set until the service has served once: the node starts with it |
//!
//! By systemd, for a service that it starts: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`,
//! `LISTEN_FDS`, `LISTEN_PID`. No program that a service starts gets any of them.

mod blocking;
mod checks;
pub mod child;
mod diagnose;
mod error;
mod inherited;
mod keyed;
mod pauses;
mod ready;
mod rest;
pub mod root;
mod shutdown;
mod systemd;
mod tasks;
mod turns;

pub use blocking::blocking;
pub use checks::{check, hindrances};
pub use diagnose::{describe_on_signal, described};
pub use error::Error;
pub use inherited::{LIFELINE_FD, NODE_STARTS, READY_FD, node_starts};
pub use keyed::{Held, Keyed};
pub use pauses::Pauses;
pub use ready::notify_ready;
pub use shutdown::shutdown_signal;
pub use systemd::{Reloading, SYSTEMDS, activated, reloading};
pub use tasks::Tasks;
pub use turns::{Turn, Turns};

/// The span of work that goes on beside: of its name, or where nobody wants that the one that it comes from,
/// so that lines of the log still say which call it is for.
fn named_or_current(named: tracing::Span) -> tracing::Span {
    if named.is_disabled() { tracing::Span::current() } else { named }
}
