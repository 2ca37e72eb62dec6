//! Collection of what nothing refers to any more, across the services of the node.
//!
//! Owns: the epoch, the graph and the order of the sweep. Must not know: how neighbours are reached.
//!
//! Invariants: nothing reachable is dropped, whatever happens meanwhile. A thing is dropped only
//! after everything that referred to it was dropped, by its owner, unless it was touched since the
//! epoch began; an owner that is missing or was restarted ends the collection.

pub mod collect;
pub mod condition;
pub mod demand;
pub mod epoch;
pub mod graph;
pub mod id;
pub mod labels;
pub mod local;
pub mod node;
pub mod pace;
pub mod schedule;
pub mod stats;
