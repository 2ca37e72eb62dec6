//! What berthd does when it is not the daemon.

pub(crate) mod config;
pub(crate) mod hook;
pub(crate) mod publish;
