//! Things in the graph of references.

use std::time::SystemTime;

use super::condition::Condition;
use super::id::Id;

/// A thing with what it refers to, as its owner read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub id: Id,
    /// Alive without being referred to.
    pub root: bool,
    /// Used since the epoch began.
    pub touched: bool,
    /// What it keeps alive.
    pub refs: Vec<Id>,
    /// What keeps it alive: the far end of `gc.bref` labels.
    pub kept_by: Vec<Id>,
    /// Those of `refs` that are part of the thing itself: a snapshot's parent, an image's target.
    pub structure: Vec<Id>,
    /// It keeps things alive with their structure alone, without what else they refer to (flat leases).
    pub flat: bool,
    /// What it keeps alive while that was used so and so long ago.
    pub conditions: Vec<Condition>,
    /// When it was used, as its labels say.
    pub used: Vec<SystemTime>,
}

impl Node {
    /// A thing that refers to nothing.
    #[must_use]
    pub fn new(id: Id) -> Self {
        Self {
            id,
            root: false,
            touched: false,
            refs: vec![],
            kept_by: vec![],
            structure: vec![],
            flat: false,
            conditions: vec![],
            used: vec![],
        }
    }
}
