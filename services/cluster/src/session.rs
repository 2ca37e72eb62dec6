//! The registration of this node: its key, the lease that the key and all others of the node go with.
//!
//! Owns: who may have a node's name, and how long. Must not know: what is published under the lease.
//!
//! A key of this name may be there already:
//!
//! | whose | what is done |
//! |---|---|
//! | nobody's | it is made, under a new lease |
//! | ours: same uuid, same run of the machine | our predecessor is gone, the root's lock says so: its lease is taken over, and all that lies under it stays |
//! | same uuid, another run of the machine | after a reboot its lease runs out by itself; a copy of the root renews it, and is another node |
//! | no node: somebody's rubbish | it is written over, under a new lease |
//! | a node beyond this version's bounds, without a lease | the same: nobody keeps it |
//! | a node beyond this version's bounds, with one | as any other: it says who it is |
//! | another uuid | refused, with the other's address, until it is gone |
//!
//! The same run of the machine is the same folder of it, too (`settings.rs`): a copy of the root is another
//! node wherever it lies.

mod register;
mod renewal;

pub use register::{register, tidy};
pub use renewal::renew;

use std::time::Duration;

use time::OffsetDateTime;

use crate::names::NodeName;

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name.
    pub name: NodeName,
    /// The root's own number.
    pub uuid: String,
    /// Of this run of the process.
    pub incarnation: String,
    /// Of this run of the machine, and of the root's folder in it.
    pub boot: String,
}

/// A registration that stood when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// All keys of the node are attached to it.
    pub lease: i64,
    /// How long the lease is good for without a renewal: what it was given with, not what is configured now.
    pub good: Duration,
    /// The revision at which the node's own key was written last, by us.
    pub modified: i64,
    /// It is new: nothing of the node was there. Otherwise keys of our predecessor may be.
    pub fresh: bool,
    /// Since when the node is registered without a gap, as its key says.
    pub registered: OffsetDateTime,
    /// A lease that was given on the way, of which nothing came: to be ended ([`tidy`]) beside what is done next.
    pub unused: Option<i64>,
}
