//! Where events stand, and where subscriptions begin.

use serde::{Deserialize, Serialize};

/// Where an event stands among all that a service ever told: runs in their order, and in each run
/// the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The run of the service. Later runs have greater ones.
    pub incarnation: u64,
    /// The event's number in that run, from 1 and without gaps.
    pub seq: u64,
}

impl Position {
    /// The position that follows in the same run.
    pub(crate) fn next(self) -> Self {
        Self { seq: self.seq + 1, ..self }
    }
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes.
    Now,
    /// With the oldest event of this run that is kept.
    Oldest,
    /// At a position: a subscriber comes back. If it comes from an earlier run, what is known of
    /// the events from there on precedes all events of this run.
    At(Position),
    /// At a position of this run, or with the oldest event that is kept, if that is later.
    Kept(Position),
}
