//! The neighbours of this service, as its domain sees them.
//!
//! Owns: the questions asked of them. Must not know: how they are carried; `crate::peers` does.

use std::sync::Arc;

use berth_epochs::Flat;
use berth_ids::Namespace;
use futures::future::BoxFuture;

use crate::error::Result;
use crate::gc::id::Id;
use crate::gc::node::Node;
use crate::records::Hold;

/// An answer on its way.
pub type Answer<'a, T> = BoxFuture<'a, Result<T>>;

/// A lease as a neighbour is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// The namespace.
    pub namespace: Namespace,
    /// Its id.
    pub id: String,
    /// Tells it from earlier ones of the same name.
    pub incarnation: u64,
}

/// Another service of the node that keeps objects in namespaces, under leases, in the graph.
pub trait Neighbour: Send + Sync {
    /// Its name, for messages.
    fn name(&self) -> &'static str;

    /// Whether it owns things of this kind.
    fn owns(&self, kind: &str) -> bool;

    /// Raises or lowers the fence around a namespace that is being deleted.
    fn fence<'a>(&'a self, namespace: &'a Namespace, up: bool) -> Answer<'a, ()>;

    /// The kinds of objects that it has in a namespace.
    fn usage<'a>(&'a self, namespace: &'a Namespace) -> Answer<'a, Vec<String>>;

    /// Records that a lease holds something.
    fn hold<'a>(&'a self, lease: &'a LeaseName, hold: &'a Hold) -> Answer<'a, ()>;

    /// Takes the hold away.
    fn release<'a>(&'a self, lease: &'a LeaseName, hold: &'a Hold) -> Answer<'a, ()>;

    /// What the lease holds there.
    fn holds<'a>(&'a self, lease: &'a LeaseName) -> Answer<'a, Vec<Hold>>;

    /// Opens an epoch; answers which run of the neighbour this is.
    fn begin(&self, epoch: u64) -> Answer<'_, u64>;

    /// All its things, from one consistent read; refused unless this epoch is open there.
    fn nodes(&self, epoch: u64) -> Answer<'_, Vec<Node>>;

    /// Drops those of the dead that were not touched; answers which. Refused, also without any dead,
    /// unless this epoch is open there, in this run.
    fn sweep(&self, epoch: u64, incarnation: u64, dead: Vec<Id>) -> Answer<'_, Vec<Id>>;

    /// Answers when the files of what was dropped before are gone.
    fn clear(&self) -> Answer<'_, ()>;

    /// Closes the epoch: once this is answered, nothing is swept there in it any more.
    fn end(&self, epoch: u64) -> Answer<'_, ()>;

    /// Says what flat leases keep there, before anything is swept; answers what of it is used already.
    /// What is used later is announced before it is relied on. Refused as a sweep is.
    fn watch(&self, epoch: u64, incarnation: u64, flat: Flat<Id>) -> Answer<'_, Vec<Id>>;

    /// Announces a reference. It is no error when there is no such thing. `alone`: what the thing keeps
    /// alive is announced by the caller too.
    fn pin<'a>(&'a self, id: &'a Id, alone: bool) -> Answer<'a, ()>;
}

/// All neighbours. Those that others refer to come first: bundle, then runtime.
pub type Peers = Arc<[Arc<dyn Neighbour>]>;
