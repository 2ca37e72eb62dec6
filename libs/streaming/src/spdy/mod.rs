//! SPDY/3.1, as Kubernetes' clients speak it: the server's side of one connection.
//!
//! Owns: frames, header blocks, streams and their numbers. Must not know: what streams are for.

mod dictionary;
mod frame;
mod headers;
mod inflate;
mod reader;
mod streams;
mod writer;

pub(crate) use frame::Fault;
pub(crate) use headers::Headers;
pub(crate) use reader::{Opened, Reader};
pub(crate) use writer::write;

#[cfg(test)]
mod tests;
