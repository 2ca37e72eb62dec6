//! Real parts for tests: a registry, images made of local files, a whole node, its clients.
//!
//! Owns: how a test starts, asks, kills and clears away real processes. Must not know: any
//! service's inside; it sees a node as its users do, through sockets, files and commands.
//!
//! Everything here is synchronous and fails with the command, its output and its exit code.

mod command;
mod image;
mod node;
mod registry;
mod session;
mod wait;

pub use command::{Output, Run, program, run};
pub use image::{Image, Layer};
pub use node::Node;
pub use registry::Registry;
pub use rustix::process::Signal;
pub use session::Session;
pub use wait::until;
