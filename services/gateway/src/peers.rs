//! Calls that the gateway makes itself, on the channels that it has anyway.

mod introspection;
mod node_events;

pub use introspection::{Parts, parts, uuid};
pub use node_events::{attend, follow};
