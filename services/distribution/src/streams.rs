//! The streams of clients that leases keep, as collections see them.
//!
//! Owns: which there are, and how one is told to end. Must not know: what goes through it.
//!
//! A stream that was opened under a lease ends with it, as containerd has it: the collection that finds
//! nothing that keeps it ends it, also while a call uses it. Streams that were opened under no lease
//! are nobody's business.

pub mod kept;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::gc::id::{Id, STREAMS};
use crate::scope::Scope;
use crate::shared::Shared;

/// The open streams. Clones are the same.
#[derive(Clone)]
pub struct Streams(pub(crate) Arc<Shared>);

/// A stream that its lease keeps, until this is dropped.
pub struct Leased {
    shared: Arc<Shared>,
    id: Id,
    number: u64,
    /// Cancelled when nothing keeps the stream any more.
    pub over: CancellationToken,
}

impl Streams {
    /// Puts a stream under the lease of its call; `None` when it has none. The lease need not be there:
    /// then the next collection ends the stream.
    #[must_use]
    pub fn lease(&self, scope: &Scope, name: &str) -> Option<Leased> {
        let lease = scope.lease.clone()?;
        let id = Id::new(&scope.namespace, STREAMS, name);
        let change = self.0.epochs.enter();
        // Before it is listed: a sweep that finds it listed finds it touched.
        change.touch(&id);
        let over = CancellationToken::new();
        let number = self.0.streams.add(id.clone(), lease, over.clone());
        Some(Leased { shared: self.0.clone(), id, number, over })
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.shared.streams.remove(&self.id, self.number);
    }
}
