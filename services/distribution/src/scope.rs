//! On whose behalf something is done.

use berth_ids::Namespace;

/// A namespace, and the lease that holds what is made in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The namespace.
    pub namespace: Namespace,
    /// The lease, if the caller named one.
    pub lease: Option<String>,
}

impl Scope {
    /// A namespace without a lease.
    #[must_use]
    pub fn new(namespace: Namespace) -> Self {
        Self { namespace, lease: None }
    }

    /// The same under a lease.
    #[must_use]
    pub fn leased(mut self, lease: impl Into<String>) -> Self {
        self.lease = Some(lease.into());
        self
    }
}
