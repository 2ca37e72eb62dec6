//! Calls that the gateway makes itself, on the channels that it has anyway.

mod introspection;
mod node_events;

pub use introspection::{parts, plugin_info, uuid};
pub use node_events::{attend, follow};
