//! Which streams leases keep.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::gc::id::{Id, LEASES};
use crate::gc::node::Node;

/// The streams that leases keep, by name. A name may be that of several: it is free again once a call
/// has taken its stream.
#[derive(Default)]
pub struct Kept(Mutex<All>);

#[derive(Default)]
struct All {
    next: u64,
    streams: HashMap<Id, Vec<One>>,
}

struct One {
    number: u64,
    lease: String,
    over: CancellationToken,
}

impl Kept {
    fn all(&self) -> MutexGuard<'_, All> {
        // Each change of it is whole: no panic lies between its parts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists one; answers the number that tells it from its namesakes.
    pub(super) fn add(&self, id: Id, lease: String, over: CancellationToken) -> u64 {
        let mut all = self.all();
        all.next += 1;
        let number = all.next;
        all.streams.entry(id).or_default().push(One { number, lease, over });
        number
    }

    /// Takes one off the list.
    pub(super) fn remove(&self, id: &Id, number: u64) {
        let mut all = self.all();
        if let Some(named) = all.streams.get_mut(id) {
            named.retain(|one| one.number != number);
            if named.is_empty() {
                all.streams.remove(id);
            }
        }
    }

    /// All, with what keeps them.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let node = |(id, named): (&Id, &Vec<One>)| {
            let leases = named.iter().map(|one| Id::new(&id.namespace, LEASES, &one.lease));
            Node { kept_by: leases.collect(), ..Node::new(id.clone()) }
        };
        self.all().streams.iter().map(node).collect()
    }

    /// Ends the streams of a name unless `keep` says otherwise; answers whether they have ended.
    pub(crate) fn end(&self, id: &Id, keep: impl Fn() -> bool) -> bool {
        let mut all = self.all();
        if keep() {
            return false;
        }
        for one in all.streams.remove(id).into_iter().flatten() {
            one.over.cancel();
        }
        true
    }
}
