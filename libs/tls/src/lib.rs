//! Connections with certificates on both sides, or on that of who listens.
//!
//! Owns: what either side shows and checks, the files that it is in, and reading those again. Must not know:
//! who listens or connects, and what is said over a connection. The one place that chooses who does the
//! cryptography (aws-lc-rs).
//!
//! | module | what it does |
//! |---|---|
//! | [`Files`] | an authority, a certificate and its key, as files |
//! | `kept` | what was made of them, made again when they change |
//! | [`Server`], [`Client`] | the two sides |
//! | [`names`] | whom a certificate is for |
//! | [`has_run_out`] | whether its time is over |

mod client;
mod error;
mod files;
mod kept;
mod names;
mod server;
mod times;

pub use client::Client;
pub use error::Error;
pub use files::Files;
pub use names::{MAX_NAMES, names};
pub use server::Server;
pub use times::has_run_out;

/// What is spoken over the connections: HTTP/2 alone.
const PROTOCOL: &[u8] = b"h2";
/// What is spoken where anybody may come.
const OLDER: &[u8] = b"http/1.1";
