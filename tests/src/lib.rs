//! Whole-node stories live in `stories/`: one binary, real processes, real clients.
//!
//! They run as root, need the binaries of this workspace built (`make test` sees to it) and
//! Debian's packages of `make setup`.

mod pages;
mod raw;

pub use pages::commands;
pub use raw::Raw;
