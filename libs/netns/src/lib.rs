//! Network namespaces that live at a path, without a process in them.
//!
//! Owns: how a namespace is pinned (a file that the namespace is bind-mounted on), also one that a user namespace of its
//! own owns; entering one, removing it, and which of a folder are there. Must not know: what is inside of one but its loopback device, or whose it is.
//! Every call blocks, for a moment.
//!
//! A pin has three states, and a kill may leave any of them behind:
//!
//! | at the path | what it is |
//! |---|---|
//! | nothing | no namespace |
//! | a file | a making or a removal was cut off: [`NetNs::make`] takes the name again, [`NetNs::remove`] removes the file |
//! | a namespace | pinned; it lives until it is removed or the node starts anew |
//!
//! Those who make and remove in one folder take turns, by a lock of the folder (`flock`) that ends with its holder.

mod entered;
mod error;
mod held;
mod loopback;
mod owned;
mod pin;

pub use entered::in_new;
pub use error::Error;
pub use held::{Held, Maps};
pub use owned::Owned;
pub use pin::{NetNs, is_namespace, leftovers, list};
