//! A bounded, numbered ring of events and its subscriptions.
//!
//! Owns: the order of one service's events, how many are kept for a subscriber that comes back,
//! also over a restart of the service, and the count of what a slow one lost. Must not know: what
//! an event means or how its payload is encoded; services hand over bytes and the name of their
//! type.
//!
//! Invariants: numbers start at 1 in each run and have no gaps; a subscription yields each event
//! of this run once, in order, or says how many it lost, and before them, to who comes back from an
//! earlier run, what is known of that run's; publishing never waits for a subscriber.

mod position;
mod ring;
mod subscription;

pub use position::{Position, Start};
pub use ring::{Event, Ring, Standing};
pub use subscription::Subscription;

use berth_errors::{Code, Coded};

/// A subscriber was too slow, or asked for what is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lost {count} events, subscribe again: resource exhausted")]
pub struct Lagged {
    /// How many events were lost. The subscription goes on with the oldest that is kept.
    pub count: u64,
}

impl Coded for Lagged {
    fn code(&self) -> Code {
        Code::ResourceExhausted
    }
}
