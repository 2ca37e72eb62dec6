//! Networks through the real service and Debian's plugins, each test on a node of its own: a network namespace. Needs
//! root, iproute2, iptables and jq.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

#[path = "networks/collect.rs"]
mod collect;
#[path = "networks/faults.rs"]
mod faults;
#[path = "networks/kills.rs"]
mod kills;
#[path = "networks/life.rs"]
mod life;
#[path = "networks/made.rs"]
mod made;
#[path = "networks/reach.rs"]
mod reach;
#[path = "networks/stage.rs"]
mod stage;
#[path = "networks/users.rs"]
mod users;
