//! What one node says of itself, asked from that node.
//!
//! Owns: who is asked, and what this node answers, in pieces. Must not know: how nodes reach each other
//! ([`crate::peers::nodes`]), and where the address of one is known ([`Directory`]).

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};

use crate::keys::{Held, Kind};
use crate::names::NodeName;
use crate::objects::{Node, Object};
use crate::truth::{Asked, Holding, Truth};
use crate::{Error, Result};

/// The most objects that a node tells of itself, or is believed, itself among them.
pub const MAX_OBJECTS: usize = 20_000;
/// The most objects of a piece.
pub const PIECE: usize = 200;

/// An object with its name, which is there for all but the node itself.
pub type Shown = (NodeName, Option<Held>, Object);
/// What a node says: first itself, then what it holds. It ends with an error, if there was any.
pub type Pieces = BoxStream<'static, Result<Vec<Shown>>>;

/// Asks nodes about themselves.
pub trait Inspect: Send + Sync {
    /// What `node` says, or this one.
    ///
    /// # Errors
    /// [`Error::NoNode`] when the cluster does not have it; [`Error::Peer`] when it does not answer, here or
    /// within the stream.
    fn inspect(&self, node: Option<NodeName>) -> BoxFuture<'_, Result<Pieces>>;
}

/// Knows where nodes answer others.
pub trait Directory: Send + Sync {
    /// The peer address of a node, `HOST:PORT`; empty: it has none.
    ///
    /// # Errors
    /// [`Error::NoNode`] when the cluster does not have it.
    fn address<'a>(&'a self, node: &'a NodeName) -> BoxFuture<'a, Result<String>>;
}

/// Reaches other nodes.
pub trait Others: Send + Sync {
    /// What the node says that answers at `address`, which must be `node`.
    ///
    /// # Errors
    /// [`Error::Peer`].
    fn describe<'a>(
        &'a self,
        node: &'a NodeName,
        address: &'a str,
    ) -> BoxFuture<'a, Result<Pieces>>;
}

/// This node, as it describes itself.
pub struct Itself {
    name: NodeName,
    truth: Arc<dyn Truth>,
    record: Box<dyn Fn() -> Node + Send + Sync>,
}

impl Itself {
    /// It holds what `truth` says. `record` tells what is known of the node now without asking its services;
    /// the rest of it is filled in here.
    #[must_use]
    pub fn new(
        name: NodeName,
        truth: Arc<dyn Truth>,
        record: impl Fn() -> Node + Send + Sync + 'static,
    ) -> Self {
        Self { name, truth, record: Box::new(record) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// What it says. Each question is asked when the piece before it was taken. What is behind a service that
    /// is down does not keep the rest back: the error comes last.
    #[must_use]
    pub fn describe(self: &Arc<Self>) -> Pieces {
        let telling = Telling {
            of: self.clone(),
            kinds: Kind::ALL.into_iter(),
            found: Vec::new().into_iter(),
            left: MAX_OBJECTS - 1,
            failed: None,
        };
        stream::try_unfold(telling, |mut telling| async move {
            telling.next().await.map(|piece| piece.map(|piece| (piece, telling)))
        })
        .boxed()
    }

    async fn node(&self) -> Node {
        let mut node = (self.record)();
        // Without an answer it stays what it was; that the service is down is part of the state.
        if let Ok(uuid) = self.truth.uuid().await {
            node.uuid = uuid;
        }
        // Not `state`: that is what is published, and news of it are the publisher's.
        let state = self.truth.look().await;
        Node {
            capacity: state.capacity,
            services: state.services,
            pressure: state.pressure,
            ..node
        }
    }
}

/// How far a node has come with describing itself.
struct Telling {
    of: Arc<Itself>,
    kinds: std::array::IntoIter<Kind, 3>,
    found: std::vec::IntoIter<Holding>,
    left: usize,
    /// The first question that was not answered, if any.
    failed: Option<Error>,
}

impl Telling {
    async fn next(&mut self) -> Result<Option<Vec<Shown>>> {
        loop {
            let piece = self.piece()?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            let name = self.of.name.clone();
            match self.kinds.next() {
                Some(Kind::Nodes) => {
                    let node = Object::Node(Box::new(self.of.node().await));
                    return Ok(Some(vec![(name, None, node)]));
                }
                Some(kind) => match self.of.truth.ask(Asked::All(kind)).await {
                    Ok(held) => self.found = held.found.into_iter(),
                    Err(error) => _ = self.failed.get_or_insert(error),
                },
                None => return self.failed.take().map_or(Ok(None), Err),
            }
        }
    }

    fn piece(&mut self) -> Result<Vec<Shown>> {
        let there = self.found.len();
        let take = there.min(PIECE).min(self.left);
        if take == 0 && there > 0 {
            let name = &self.of.name;
            return Err(Error::TooMany(format!(
                "node {name} tells of {MAX_OBJECTS} objects, and holds more than that"
            )));
        }
        self.left -= take;
        let shown = |Holding { held, object }| (self.of.name.clone(), Some(held), object);
        Ok(self.found.by_ref().take(take).map(shown).collect())
    }
}

/// Asks this node itself, or another one.
pub struct Inspector {
    own: Arc<Itself>,
    directory: Arc<dyn Directory>,
    others: Arc<dyn Others>,
}

impl Inspector {
    /// This node is `own`; others are where `directory` says.
    #[must_use]
    pub fn new(own: Arc<Itself>, directory: Arc<dyn Directory>, others: Arc<dyn Others>) -> Self {
        Self { own, directory, others }
    }

    async fn ask(&self, node: Option<NodeName>) -> Result<Pieces> {
        let Some(node) = node.filter(|node| node != self.own.name()) else {
            return Ok(self.own.describe());
        };
        let address = self.directory.address(&node).await?;
        if address.is_empty() {
            let reason = "it answers no other nodes: set [cluster.peer] there".into();
            return Err(Error::Peer { node: node.to_string(), address, reason });
        }
        self.others.describe(&node, &address).await
    }
}

impl Inspect for Inspector {
    fn inspect(&self, node: Option<NodeName>) -> BoxFuture<'_, Result<Pieces>> {
        self.ask(node).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use futures::TryStreamExt;
    use tokio::sync::mpsc;

    use super::*;
    use crate::objects::{Container, TaskState};
    use crate::truth::{Holdings, News, State};

    /// A node whose images nobody tells.
    struct Half;

    impl Truth for Half {
        fn uuid(&self) -> BoxFuture<'_, Result<String>> {
            ready(Ok("u".to_owned())).boxed()
        }

        fn follow(&self, news: mpsc::Sender<News>) -> BoxFuture<'_, ()> {
            async move { news.closed().await }.boxed()
        }

        fn ask(&self, asked: Asked) -> BoxFuture<'_, Result<Holdings>> {
            let answer = if asked == Asked::All(Kind::Images) {
                Err(Error::Service { service: "distribution", step: "list", reason: "x".into() })
            } else {
                let held = Held::new(Kind::Containers, "n", "c").unwrap();
                Ok(Holdings { found: vec![Holding { held, object: container() }], left_out: 0 })
            };
            ready(answer).boxed()
        }

        fn state(&self) -> BoxFuture<'_, State> {
            ready(State::default()).boxed()
        }
    }

    fn container() -> Object {
        Object::Container(Container {
            image: "i".into(),
            runtime: "r".into(),
            labels: [].into(),
            labels_left_out: false,
            created: None,
            state: TaskState::None,
            pid: 0,
            exit_status: 0,
            exited: None,
        })
    }

    #[tokio::test]
    async fn a_service_that_is_down_keeps_nothing_of_the_others_back() {
        let own = Arc::new(Itself::new("n".parse().unwrap(), Arc::new(Half), Node::default));
        let mut pieces = own.describe();
        for kind in [Kind::Nodes, Kind::Containers] {
            let piece = pieces.try_next().await.unwrap().unwrap();
            let kinds: Vec<_> = piece.iter().map(|(_, _, object)| object.kind()).collect();
            assert_eq!(kinds, [kind]);
        }
        let error = pieces.try_next().await.unwrap_err();
        assert!(matches!(error, Error::Service { .. }), "{error}");
        assert!(pieces.try_next().await.unwrap().is_none());
    }
}
