//! Shims: finding their program, starting them, cleaning up after those that died.

mod launch;
mod log;
mod resolve;

pub use launch::{Bootstrap, Launcher, Settings};
pub use log::{copy_log, make_log};
