//! Shims: finding their program, starting them, cleaning up after those that died.

mod bootstrap;
mod known;
mod launch;
mod log;
mod resolve;
mod settings;
mod socket;

pub use bootstrap::Bootstrap;
pub use known::Known;
pub use launch::{Launcher, STARTING};
pub use log::read_log;
pub use settings::{Settings, Timeouts};
pub(crate) use socket::remove_socket;
