//! What the node has acknowledged.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Model {
    /// Images that are pulled and unpacked.
    pub images: BTreeSet<String>,
    /// Containers that run, with the number of their process once it was listed.
    pub running: BTreeMap<String, Option<u32>>,
    /// Containers whose program ends by itself, with its exit code.
    pub ending: BTreeMap<String, Ending>,
    /// Blobs that were seen to have their digests.
    pub hashed: BTreeSet<String>,
}

pub struct Ending {
    pub code: i32,
    /// The node was asked for it and gave the right answer.
    pub asked: bool,
    /// Whoever follows the events since its start has to have seen its exit.
    pub followed: bool,
}

impl Model {
    /// Every container that is there.
    pub fn containers(&self) -> BTreeSet<String> {
        self.running.keys().chain(self.ending.keys()).cloned().collect()
    }
}
