//! Publishing to a real etcd what a made-up node holds.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "publish/bounds.rs"]
mod bounds;
#[path = "publish/faults.rs"]
mod faults;
#[path = "publish/names.rs"]
mod names;
#[path = "publish/repairs.rs"]
mod repairs;
#[path = "publish/steady.rs"]
mod steady;
#[path = "publish/truth.rs"]
mod truth;
#[path = "publish/unanswered.rs"]
mod unanswered;
#[path = "publish/world.rs"]
mod world;
