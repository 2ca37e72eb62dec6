//! Calls that the gateway makes itself, on the connections that it has anyway.

mod introspection;
mod node_events;
mod transport;

pub use introspection::{Parts, parts, uuid};
pub use node_events::follow;
