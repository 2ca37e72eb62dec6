//! The node's own key: what is said in it, and when it is said again.
//!
//! Every write of the node has that its own key is as this process has written it last for a condition. So
//! nothing is written by who is not registered any more, whatever a delayed request holds.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::keys::Kind;
use crate::names::NodeName;
use crate::objects::{Node, Object, Published};
use crate::peers::etcd::{Entry, If};
use crate::peers::stored;
use crate::truth::State;
use crate::{Error, Result};

/// Between two writes for the sake of counts and pressure.
const PACE: Duration = Duration::from_secs(5);
/// Between two writes for the sake of services' health.
const SOON: Duration = Duration::from_millis(500);

/// The node's own key.
#[derive(Debug)]
pub(super) struct Own {
    name: NodeName,
    key: String,
    lease: i64,
    /// As it should be.
    node: Node,
    /// As it was written; none if it is not known to be so.
    told: Option<Node>,
    modified: i64,
    wrote: Option<Instant>,
    /// A write got no answer, and may yet be made: every one that has this revision of the key for its condition.
    doubtful: bool,
}

impl Own {
    /// As it was registered, at `modified` with `lease`.
    pub(super) fn new(name: NodeName, key: String, node: Node, lease: i64, modified: i64) -> Self {
        Self { name, key, lease, node, told: None, modified, wrote: None, doubtful: false }
    }

    /// Takes what is at the key.
    ///
    /// # Errors
    /// [`Error::Displaced`] when it is not what this process wrote.
    pub(super) fn found(&mut self, entry: Option<&Entry>) -> Result<()> {
        let displaced = || Error::Displaced(self.name.as_str().into());
        let entry = entry.ok_or_else(displaced)?;
        let node = match stored::decode(Kind::Nodes, &entry.key, &entry.value) {
            Ok(Object::Node(node)) if node.incarnation == self.node.incarnation => *node,
            _ => return Err(displaced()),
        };
        // Since when it is there is kept over restarts, by the registration.
        if self.told.is_none() {
            self.node.registered = node.registered;
        }
        self.told = (entry.lease == self.lease).then_some(node);
        self.doubtful &= entry.modified == self.modified;
        self.modified = entry.modified;
        Ok(())
    }

    /// A write got no answer. The key goes with the next one, whatever it says: once that is made, the one that
    /// got none cannot be made any more.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Whether something may yet be written that was sent before.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// What must be so for anything to be written.
    pub(super) fn condition(&self) -> If {
        If::Unchanged(self.key.clone(), self.modified)
    }

    /// The key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The node is as this now.
    pub(super) fn state(&mut self, state: State) {
        let State { capacity, services, pressure } = state;
        (self.node.capacity, self.node.services, self.node.pressure) =
            (capacity, services, pressure);
    }

    /// So much is published.
    pub(super) fn published(&mut self, published: Published) {
        self.node.published = published;
    }

    /// When it is to be written again, if it is.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let Some(told) = self.told.as_ref().filter(|_| !self.doubtful) else { return Some(now) };
        if *told == self.node {
            return None;
        }
        let pace = if told.services == self.node.services { PACE } else { SOON };
        Some(self.wrote.map_or(now, |wrote| wrote + pace))
    }

    /// What is to be written.
    pub(super) fn value(&self) -> Bytes {
        stored::encode(&Object::Node(Box::new(self.node.clone()))).into()
    }

    /// It was written.
    pub(super) fn made(&mut self, modified: i64, now: Instant) {
        (self.modified, self.wrote, self.doubtful) = (modified, Some(now), false);
        self.told = Some(self.node.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ServiceHealth;

    fn own() -> (Own, Entry) {
        let node = Node { incarnation: "i".into(), ..Node::default() };
        let own = Own::new("n".parse().unwrap(), "/k".into(), node, 7, 1);
        let entry = Entry { key: "/k".into(), value: own.value(), modified: 3, lease: 7 };
        (own, entry)
    }

    #[test]
    fn what_another_wrote_ends_the_registration() {
        let (mut own, entry) = own();
        own.found(Some(&entry)).unwrap();
        assert_eq!(own.condition(), If::Unchanged("/k".into(), 3));
        assert_eq!(own.due(Instant::now()), None);
        let other = Node { incarnation: "j".into(), ..Node::default() };
        let other = stored::encode(&Object::Node(Box::new(other)));
        for bad in [Some(Entry { value: other.into(), ..entry.clone() }), None] {
            let error = own.found(bad.as_ref()).unwrap_err();
            assert!(matches!(error, Error::Displaced(_)), "{error}");
        }
        let garbled = Entry { value: "\u{1}".into(), ..entry.clone() };
        assert!(own.found(Some(&garbled)).is_err());
        // Without the lease it would stay when the node is gone.
        own.found(Some(&Entry { lease: 0, ..entry })).unwrap();
        assert!(own.due(Instant::now()).is_some());
    }

    #[test]
    fn health_is_told_soon_and_counts_at_their_pace() {
        let (mut own, entry) = own();
        own.found(Some(&entry)).unwrap();
        let now = Instant::now();
        own.published(Published { images: 1, ..Published::default() });
        assert_eq!(own.due(now), Some(now));
        own.made(4, now);
        assert_eq!(own.due(now), None);
        own.published(Published { images: 2, ..Published::default() });
        assert_eq!(own.due(now), Some(now + PACE));
        let services = vec![ServiceHealth { name: "s".into(), serves: false, reason: "r".into() }];
        own.state(State { services, ..State::default() });
        assert_eq!(own.due(now), Some(now + SOON));
        own.made(5, now);
        assert_eq!((own.due(now), own.condition()), (None, If::Unchanged("/k".into(), 5)));
    }

    #[test]
    fn after_a_write_without_an_answer_the_key_is_written_whatever_it_says() {
        let (mut own, entry) = own();
        own.found(Some(&entry)).unwrap();
        let now = Instant::now();
        own.made(4, now);
        own.doubt();
        assert_eq!((own.due(now), own.condition()), (Some(now), If::Unchanged("/k".into(), 4)));
        // What is read proves nothing while the key is as it was: the write may come yet.
        own.found(Some(&Entry { modified: 4, ..entry.clone() })).unwrap();
        assert!(own.is_doubtful() && own.due(now).is_some());
        // That was it, or one after it.
        own.found(Some(&Entry { modified: 6, ..entry })).unwrap();
        assert_eq!((own.is_doubtful(), own.due(now)), (false, None));
        own.doubt();
        own.made(7, now);
        assert_eq!((own.is_doubtful(), own.due(now)), (false, None));
    }
}
