//! SELinux of a machine, for who runs containers on it.
//!
//! Owns: whether it is on, which labels its policy has for containers, which level is whose, and giving files a label. Must
//! not know: pods, requests, or what a label is put into. Every call blocks, but only [`relabel`] for long.
//!
//! Facts about files and rules are those of container-selinux and of the library go-selinux.

mod files;
mod label;
mod levels;
mod machine;
mod relabel;

pub use label::{Label, NotALabel};
pub use levels::{Exhausted, Levels, MAX_RANGE};
pub use machine::{Labels, Off, look};
pub use relabel::{ATTRIBUTE, Bounds, Error, relabel};
