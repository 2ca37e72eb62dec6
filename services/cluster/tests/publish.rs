//! Publishing to a real etcd what a made-up node holds.

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
#[path = "publish/world.rs"]
mod world;
