//! runtime.v1.ImageService of a whole node, asked through its gateway as a kubelet asks, with docker-registry and
//! beside Debian's ctr.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod containers;
mod credentials;
mod lists;
mod others;
mod pulls;
mod silence;
mod support;
mod together;
