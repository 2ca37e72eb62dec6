//! Whole-node stories live in `stories/`: one binary, real processes, real clients.
//!
//! They run as root, need the binaries of this workspace built (`make test` sees to it) and
//! Debian's packages of `make setup`.

mod raw;

pub use raw::Raw;
