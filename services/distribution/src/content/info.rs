//! What is known of a blob and of an ingest.

use std::time::SystemTime;

use berth_ids::{Digest, Labels};
use serde::{Deserialize, Serialize};

/// A committed blob as one namespace sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When this namespace got it.
    pub created: SystemTime,
    /// When its labels changed last.
    pub updated: SystemTime,
    /// Its labels in this namespace.
    pub labels: Labels,
}

/// What a writer knows of the blob to come. Everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Its digest.
    pub digest: Option<Digest>,
    /// Its size; 0 when unknown.
    pub size: u64,
    /// What the event of its commit says that it is; empty when unknown.
    #[serde(default)]
    pub media_type: String,
}

impl Expected {
    /// Takes in what a writer knows besides; answers whether it means a blob of another size.
    pub fn learn(&mut self, new: &Self) -> bool {
        let another = self.size > 0 && new.size > 0 && self.size != new.size;
        if new.size > 0 {
            self.size = new.size;
        }
        if !new.media_type.is_empty() {
            self.media_type.clone_from(&new.media_type);
        }
        if new.digest.is_some() {
            self.digest.clone_from(&new.digest);
        }
        another
    }
}

/// An ingest: a blob that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The name by which a writer resumes it.
    pub reference: String,
    /// Bytes written.
    pub offset: u64,
    /// What the blob shall be.
    pub expected: Expected,
    /// When it was begun.
    pub started: SystemTime,
    /// When it was written to last.
    pub updated: SystemTime,
}
