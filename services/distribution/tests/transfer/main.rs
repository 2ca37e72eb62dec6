//! Transfers through the API, with Debian's docker-registry, skopeo and a proxy that makes faults.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod faults;
mod kit;
mod layers;
mod registry;
#[path = "../support/mod.rs"]
mod support;
