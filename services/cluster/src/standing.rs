//! How publishing stands, for whoever asks this node.

use time::OffsetDateTime;

use crate::objects::Published;

/// What became of the registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Etcd does not answer, or has not yet.
    Connecting,
    /// The node is in the cluster.
    Registered,
    /// Another node has the name.
    Refused {
        /// Its address.
        by: String,
    },
}

/// How publishing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What became of the registration.
    pub registration: Registration,
    /// What is in the way now, in words.
    pub trouble: Option<String>,
    /// Since when `registration` is so.
    pub since: OffsetDateTime,
    /// Changes that etcd has not got yet.
    pub waiting: u64,
    /// What etcd has got.
    pub published: Published,
}
