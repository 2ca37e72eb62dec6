//! bundle: snapshots of images and containers, the layers that they are made of, and the mounts
//! that are made of them for a while.
//!
//! Owns: snapshot records and directories, extraction and making of layers, what leases hold of
//! snapshots. Must not know: images, registries, containers, or any other service's store. The
//! domain (`layer`, `diff`, `snapshots`, `gc`, `namespaces`) knows no wire type; `api` and `peers`
//! do.

pub mod api;
pub mod check;
pub mod counts;
pub mod diff;
pub mod differs;
mod durable;
pub mod erofs;
mod error;
pub mod gc;
mod input;
pub mod layer;
pub mod live;
pub mod mounts;
pub mod namespaces;
pub mod peers;
pub mod processors;
mod serve;
pub mod snapshots;
pub mod sweep;
pub mod walking;

pub use error::Error;
pub use serve::{Served, serve};
