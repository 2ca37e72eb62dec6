//! Shims: finding their program, starting them, cleaning up after those that died.

mod bootstrap;
mod launch;
mod log;
mod resolve;

pub use bootstrap::Bootstrap;
pub use launch::{Launcher, Settings};
pub use log::{copy_log, make_log};
