//! The cluster service: shows this node to its cluster, and the cluster to this node's clients, through
//! etcd.
//!
//! Owns: the node's registration and its keys in etcd, and views of what other nodes hold. Must not know:
//! how the other services keep what they hold; agreement, leases and watches, which are etcd's. Nothing
//! here is the truth: that is each node's own services'.
//!
//! | module | what it does |
//! |---|---|
//! | [`settings`], [`serve`](fn@serve) | what is configured, and putting the rest together by it |
//! | [`names`], [`keys`], [`objects`] | what nodes are called, where things lie, what they look like |
//! | [`truth`] | what this node holds |
//! | [`session`] | the registration, and its lease |
//! | [`publish`] | writing what changed, and how that stands |
//! | [`view`] | reading what others wrote, while somebody asks |
//! | [`inspect`], `directory` | one node, asked from itself; where it is |
//! | [`api`], [`peers`] | its services, and the calls that it makes |

pub mod api;
mod backoff;
mod directory;
mod error;
pub mod inspect;
pub mod keys;
pub mod names;
pub mod objects;
pub mod peers;
pub mod publish;
mod serve;
pub mod session;
pub mod settings;
pub mod truth;
pub mod view;

pub use error::{Error, Result};
pub use serve::{Served, serve};
