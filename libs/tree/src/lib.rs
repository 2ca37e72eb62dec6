//! Trees of files that somebody else made: images, what containers have written.
//!
//! Owns: walking them through descriptors, so that no link leads out and nothing is opened that is no folder or regular
//! file; copying a part of one, with bounds; removing one, however deep. Must not know: whose they are, or why. Every
//! call blocks.

mod attributes;
mod content;
mod copy;
mod inside;
mod names;
mod removal;

pub use attributes::{Xattrs, path_at, times, xattrs, xattrs_at};
pub use content::content;
pub use copy::{Bounds, Error, copy_folder};
pub use inside::{open_beneath, open_in_root};
pub use names::names;
pub use removal::{remove, remove_tree};
