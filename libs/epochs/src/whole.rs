//! What comes to be relied on with a thing that a flat lease alone had kept.

use std::hash::Hash;
use std::sync::Arc;

use crate::Epoch;

/// What a touch makes whole and the collection has found dead, nearly always nothing. Its owners have
/// to be told before anybody relies on the thing. Until they were, each touch of the thing answers it.
#[derive(Debug)]
pub struct Whole<K> {
    things: Vec<K>,
    /// What was touched, and when.
    of: Option<(Arc<Epoch<K>>, K)>,
}

impl<K> Whole<K> {
    pub(crate) fn new(things: Vec<K>, id: K, epoch: Arc<Epoch<K>>) -> Self {
        let of = (!things.is_empty()).then_some((epoch, id));
        Self { things, of }
    }

    /// The things, with those that they lead to.
    #[must_use]
    pub fn things(&self) -> &[K] {
        &self.things
    }
}

impl<K: Eq + Hash + Clone> Whole<K> {
    /// All owners know: in this epoch nobody has to be told of it again.
    pub fn told(self) {
        if let Some((epoch, id)) = self.of {
            epoch.reach().told(id, self.things);
        }
    }
}

impl<K> Default for Whole<K> {
    fn default() -> Self {
        Self { things: Vec::new(), of: None }
    }
}
