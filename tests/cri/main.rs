//! Pods and their containers as kubelets make them, through the gateway, on nodes in network namespaces of their own with
//! Debian's CNI plugins, IPv4 and IPv6. Needs root.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod checkpoints;
mod clients;
mod configured;
mod containers;
mod devices;
mod events;
mod hostile;
mod limits;
mod lists;
mod load;
mod metrics;
mod mounts;
mod much;
mod namespaces;
mod pause;
mod plugins;
mod pods;
mod propagation;
mod reached;
mod selinux;
mod signals;
mod stage;
mod stopped;
mod streams;
mod told;
mod troubles;
mod twice;
mod typed;
mod userns;

/// The client of the streaming server's own tests.
#[path = "../../libs/streaming/tests/clients/spdy.rs"]
#[allow(dead_code, reason = "not all of it is of use here")]
mod spdy;
#[path = "../../libs/streaming/tests/clients/wanted.rs"]
#[allow(dead_code, reason = "not all of it is of use here")]
mod wanted;
