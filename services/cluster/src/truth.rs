//! What a node holds, as its own services say: the seam between publishing and the node.
//!
//! Owns: the questions. Must not know: who answers; [`crate::peers::node`] asks the services of this node,
//! measurements make up thousands of nodes.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::Result;
use crate::keys::{Held, Kind};
use crate::objects::{Capacity, Object, Pressure, ServiceHealth};

/// What may have changed on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// This one: was made, changed or is gone.
    Changed(Held),
    /// Anything of a kind in a namespace.
    Namespace(Kind, Arc<str>),
    /// Anything of a kind: news were lost.
    Gap(Kind),
    /// The node's own state ([`Truth::state`]).
    State,
}

/// One thing that the node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Its name.
    pub held: Held,
    /// What it is now: an image or a container, as `held` says.
    pub object: Object,
}

/// All of one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// What there is.
    pub found: Vec<Holding>,
    /// What there is beside them and cannot be named in a key.
    pub left_out: u64,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Everything of a kind.
    All(Kind),
    /// Everything of a kind in a namespace.
    Namespace(Kind, Arc<str>),
    /// These, all of one kind. What is not there any more is not answered.
    These(Kind, Vec<Held>),
}

/// What changes by itself about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What the machine has.
    pub capacity: Capacity,
    /// How the services are.
    pub services: Vec<ServiceHealth>,
    /// What the machine runs out of.
    pub pressure: Vec<Pressure>,
}

/// The truth about one node.
pub trait Truth: Send + Sync + 'static {
    /// The root's own number, once it is known.
    ///
    /// # Errors
    /// When the service that knows it does not answer.
    fn uuid(&self) -> BoxFuture<'_, Result<String>>;

    /// Sends what changes from now on, until `news` is closed. Returns when it has been. What happened before
    /// a first listing that follows this call's start is in the listing.
    fn follow(&self, news: mpsc::Sender<News>) -> BoxFuture<'_, ()>;

    /// What there is.
    ///
    /// # Errors
    /// When the service that knows does not answer, or refuses.
    fn ask(&self, asked: Asked) -> BoxFuture<'_, Result<Holdings>>;

    /// The node's state, for whoever follows: [`News::State`] comes when it is not as it was told here last.
    fn state(&self) -> BoxFuture<'_, State>;

    /// The node's state, for anybody else: whoever follows does not miss news for it.
    fn look(&self) -> BoxFuture<'_, State> {
        self.state()
    }
}
