//! Transfers through the API, with Debian's docker-registry, skopeo and a proxy that makes faults.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod archives;
mod credentials;
mod events;
mod faults;
mod hostile;
mod hosts;
mod kit;
mod layers;
mod platforms;
mod pushes;
mod redirects;
mod registry;
mod requests;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod verifiers;
mod words;
