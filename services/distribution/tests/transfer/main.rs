//! Transfers through the API, with Debian's docker-registry, skopeo and a proxy that makes faults.

mod faults;
mod kit;
mod layers;
mod registry;
#[path = "../support/mod.rs"]
mod support;
