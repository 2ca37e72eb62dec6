//! Debian's plugins, and plugins that do not do what they should, each on a node of its own: a thread in a new
//! network namespace. Needs root, iproute2, iptables and jq.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod faults;
mod kills;
mod node;
mod order;
mod ports;
mod real;
mod told;
