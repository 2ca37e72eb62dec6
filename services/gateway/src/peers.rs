//! Calls that the gateway makes itself, on the channels that it has anyway.

mod introspection;
mod node_events;

pub use introspection::{DEADLINE, SERVICE, deprecations, parts, plugin_info, uuid};
pub use node_events::{attend, follow};
