//! Networks of containers: what is typed of them, what is asked of the node, what a container's record keeps.
//!
//! Owns: which flags go together, the request that is kept with a container so that its start can make it again, and
//! how an attachment is shown. Must not know: plugins, subnets, or how anything is attached; runtime does that.

mod attach;
mod flags;
mod free;
mod kept;
mod port;
mod shared;
pub mod shown;

pub use attach::{detach, of, of_namespace, on};
pub use flags::{Flags, Mode};
pub use kept::{Connection, connect, is_connected, is_left, make_ready, undo};
