//! containerd's ttrpc: small remote calls between processes of one machine, over a unix socket.
//!
//! Owns: the frames, the two envelope messages, the client that multiplexes calls over one
//! connection and the server that runs them. Must not know: any service or any message that
//! travels inside the envelopes, nor gRPC.
//!
//! Invariants:
//! - Every call has a deadline; the other side is told what is left of it.
//! - Nothing that a peer does makes us hold more than one message of [`MAX_MESSAGE`] bytes per
//!   connection that has not arrived in full, or wait for a write longer than
//!   [`Limits::write_timeout`].
//! - A closed connection fails all of its pending calls at once.
//! - Unary calls only: frames of streams are refused on their stream, the connection goes on.

mod client;
mod connection;
mod error;
mod frame;
mod handler;
mod message;
mod requests;
mod server;
mod status;

pub use client::Client;
pub use error::Error;
pub use frame::{HEADER_LENGTH, MAX_MESSAGE};
pub use handler::{Call, Handler, Limits, reply};
pub use message::{KeyValue, Request, Response, RpcStatus};
pub use server::Server;
pub use status::Status;
