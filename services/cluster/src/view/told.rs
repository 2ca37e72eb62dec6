//! What watchers are told, one change at a time, and how many of them at once.

use std::sync::Arc;

use super::item::Item;

/// The most changes in one message.
pub const PIECE: usize = 500;

/// A change as a watcher gets it.
#[derive(Clone, Debug)]
pub struct Told {
    /// It is gone, or does not match any more.
    pub deleted: bool,
    /// What it is, or was.
    pub item: Arc<Item>,
}
