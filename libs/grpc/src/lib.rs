//! What every gRPC service and caller of berth shares.
//!
//! Owns: the mapping between [`berth_errors::Code`] and gRPC's status, containerd's metadata
//! headers, the unix sockets that services listen on and call each other through, and the
//! conversions of protobuf's well-known types. Must not know: any service's messages; this crate
//! does not depend on berth-proto.

mod bind;
mod calls;
mod channel;
pub mod deadline;
mod error;
mod health;
mod lengths;
pub mod mask;
mod metadata;
mod refusals;
pub mod server;
mod socket;
mod status;
pub mod time;
mod traces;
mod tuning;

pub use calls::{Call, Calls, Counted, Counting};
pub use channel::{Answer, Channel, PEER_WAIT, Settings, broke_off, channel};
pub use error::Error;
pub use health::{Health, health};
pub use lengths::{Bounded, Lengths, Refusal};
pub use metadata::{
    LEASE_HEADER, MEDIA_TYPE_HEADER, NAMESPACE_HEADER, lease, media_type, namespace, namespace_of,
    with_lease, with_media_type, with_namespace,
};
pub use refusals::{Refusable, Refusals, Refusing};
pub use socket::Socket;
pub use status::{code_of, status, told, wire_code};
pub use tuning::Tuning;

/// The largest message that programs of others are sent and may answer with, as containerd has it.
///
/// tonic's own limit for decoding is 4 MiB: give this or [`NODE_MESSAGE`] to `max_decoding_message_size`
/// and `max_encoding_message_size` of every generated server and client.
pub const MAX_MESSAGE: usize = 16 << 20;

/// The largest message between processes of the node: the most that clients can be allowed, and what may
/// be around it. What clients are allowed is bounded where they call, by [`Bounded`] and [`Lengths`].
pub const NODE_MESSAGE: usize = (1 << 30) + (1 << 20);
