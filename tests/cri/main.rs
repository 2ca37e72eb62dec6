//! Pods and their containers as kubelets make them, through the gateway, on nodes in network namespaces of their own with
//! Debian's CNI plugins, IPv4 and IPv6. Needs root.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod configured;
mod containers;
mod load;
mod pods;
mod stage;
mod streams;
mod told;
