//! The runtime service: containers, tasks, sandboxes and the shims behind them.
//!
//! Owns: `root/runtime` with its store and checkpoints on their way, the tasks' folders under `state/runtime`, the shims'
//! connections, `ADDRESS.ttrpc` where shims send their events. Must not know: images, blobs,
//! snapshots beyond their names; runc beyond its options and, for a check, its list.
//!
//! Invariant: this process may be killed at any time. Containers run on, and the next run finds
//! their shims by the folders and tells what happened meanwhile.

pub mod api;
mod bundle;
pub mod check;
pub mod checkpoints;
pub mod containers;
pub mod counts;
pub mod error;
pub mod events;
pub mod gate;
pub mod holdings;
mod leftovers;
pub mod live;
pub mod networks;
pub mod peers;
pub mod process;
pub mod records;
pub mod refs;
mod register;
pub mod restart;
pub mod sandboxes;
pub mod shims;
pub mod tasks;
pub mod usage;

mod serve;
pub mod warnings;
mod work;

pub use error::{Error, Result};
pub use serve::{Served, serve};
