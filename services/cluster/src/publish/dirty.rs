//! What may have changed on the node since it was last asked about, in little space.
//!
//! Many changes of one thing are one; too many names of a kind become the whole kind. Of each is known when
//! its news came first, so that it can be told how long etcd took to have it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::keys::{Held, Kind};
use crate::truth::{Asked, News};

/// Names of one kind that are told apart.
const NAMES: usize = 256;
/// Namespaces of one kind that are told apart.
const NAMESPACES: usize = 16;

/// The kinds of what a node holds.
pub(super) const KINDS: [Kind; 2] = [Kind::Images, Kind::Containers];

/// The place of a kind's things among those of [`KINDS`].
pub(super) fn place(kind: Kind) -> Option<usize> {
    KINDS.into_iter().position(|known| known == kind)
}

/// What may have changed.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    kinds: [OfKind; KINDS.len()],
    /// The node's own state may have.
    pub(super) state: bool,
}

#[derive(Debug, Default)]
struct OfKind {
    /// Its events are or were followed. Before that its service may not have said anything yet, and nothing
    /// that is not known is taken for gone.
    heard: bool,
    /// All of it; with the time if somebody waits for it.
    all: Option<Option<Instant>>,
    namespaces: BTreeMap<Arc<str>, Instant>,
    /// Also of what is in `all` or a namespace: only for the times, then.
    names: BTreeMap<Held, Instant>,
}

/// A question, and since when its answer is news.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) kind: Kind,
    of: Of,
    since: Option<Instant>,
    names: BTreeMap<Held, Instant>,
}

#[derive(Debug)]
enum Of {
    All,
    Namespace(Arc<str>),
    Names,
}

impl Question {
    /// As the truth is asked.
    pub(super) fn asked(&self) -> Asked {
        match &self.of {
            Of::All => Asked::All(self.kind),
            Of::Namespace(namespace) => Asked::Namespace(self.kind, namespace.clone()),
            Of::Names => Asked::These(self.kind, self.names.keys().cloned().collect()),
        }
    }

    /// It is about everything of its kind.
    pub(super) fn is_all(&self) -> bool {
        matches!(self.of, Of::All)
    }

    /// It is about this one of its kind, too: if it is not in the answer it is gone.
    pub(super) fn covers(&self, held: &Held) -> bool {
        match &self.of {
            Of::All => true,
            Of::Namespace(namespace) => held.namespace == *namespace,
            Of::Names => self.names.contains_key(held),
        }
    }

    /// Since when etcd should have it.
    pub(super) fn since(&self, held: &Held) -> Option<Instant> {
        self.names.get(held).copied().or(self.since)
    }

    /// How many things wait for the answer.
    pub(super) fn len(&self) -> usize {
        self.names.len() + usize::from(!matches!(self.of, Of::Names))
    }
}

impl Dirty {
    /// Something happened.
    pub(super) fn add(&mut self, news: News, now: Instant) {
        let kind = match &news {
            News::Changed(held) => held.kind,
            News::Namespace(kind, _) | News::Gap(kind) => *kind,
            News::State => Kind::Nodes,
        };
        let Some(of) = place(kind).map(|place| &mut self.kinds[place]) else {
            self.state = true;
            return;
        };
        match news {
            News::Gap(_) => {
                of.heard = true;
                of.mark(Some(now));
            }
            // The listing that follows the first gap has it.
            _ if !of.heard => {}
            News::Changed(held) => of.name(held, now),
            News::Namespace(_, namespace) => of.namespace(namespace, now),
            News::State => {}
        }
    }

    /// All of a kind is to be compared, for which nobody waits. Nothing of what is not heard of yet.
    pub(super) fn mark(&mut self, kind: Kind) {
        if let Some(of) = place(kind).map(|place| &mut self.kinds[place])
            && of.heard
        {
            of.mark(None);
        }
    }

    /// These are to be asked about.
    pub(super) fn names(&mut self, names: impl IntoIterator<Item = (Held, Instant)>) {
        for (held, since) in names {
            if let Some(place) = place(held.kind) {
                self.kinds[place].name(held, since);
            }
        }
    }

    /// The next question about a kind.
    pub(super) fn take(&mut self, kind: Kind) -> Option<Question> {
        let of = &mut self.kinds[place(kind)?];
        if let Some(since) = of.all.take() {
            of.namespaces.clear();
            let names = std::mem::take(&mut of.names);
            return Some(Question { kind, of: Of::All, since, names });
        }
        if let Some((namespace, since)) = of.namespaces.pop_first() {
            let (names, rest) = std::mem::take(&mut of.names)
                .into_iter()
                .partition(|(held, _)| held.namespace == namespace);
            of.names = rest;
            return Some(Question {
                kind,
                of: Of::Namespace(namespace),
                since: Some(since),
                names,
            });
        }
        let names = std::mem::take(&mut of.names);
        (!names.is_empty()).then_some(Question { kind, of: Of::Names, since: None, names })
    }

    /// There is something to ask about a kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        place(kind).is_some_and(|place| self.kinds[place].len() > 0)
    }

    /// A question was not answered.
    pub(super) fn put_back(&mut self, question: Question) {
        let Some(of) = place(question.kind).map(|place| &mut self.kinds[place]) else { return };
        match question.of {
            Of::All => of.mark(question.since),
            Of::Namespace(namespace) => {
                if let Some(since) = question.since {
                    of.namespace(namespace, since);
                }
            }
            Of::Names => {}
        }
        question.names.into_iter().for_each(|(held, since)| of.name(held, since));
    }

    /// How many things are to be asked about.
    pub(super) fn len(&self) -> usize {
        self.kinds.iter().map(OfKind::len).sum::<usize>() + usize::from(self.state)
    }
}

impl OfKind {
    fn mark(&mut self, since: Option<Instant>) {
        self.all = Some(earlier(self.all.flatten(), since));
    }

    fn namespace(&mut self, namespace: Arc<str>, since: Instant) {
        if let Some(known) = self.namespaces.get_mut(&namespace) {
            *known = since.min(*known);
        } else if self.namespaces.len() < NAMESPACES {
            self.namespaces.insert(namespace, since);
        } else {
            self.mark(Some(since));
        }
    }

    fn name(&mut self, held: Held, since: Instant) {
        if let Some(known) = self.names.get_mut(&held) {
            *known = since.min(*known);
        } else if self.names.len() < NAMES {
            self.names.insert(held, since);
        } else {
            self.mark(Some(since));
        }
    }

    fn len(&self) -> usize {
        usize::from(self.all.is_some()) + self.namespaces.len() + self.names.len()
    }
}

/// The earlier of two times, if there is any.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn image(name: &str) -> Held {
        Held::new(Kind::Images, "default", name).unwrap()
    }

    fn heard() -> (Dirty, Instant) {
        let (mut dirty, now) = (Dirty::default(), Instant::now());
        dirty.add(News::Gap(Kind::Images), now);
        assert!(dirty.take(Kind::Images).unwrap().is_all());
        assert_eq!(dirty.len(), 0);
        (dirty, now)
    }

    #[test]
    fn nothing_is_asked_before_the_events_are_followed() {
        let (mut dirty, now) = (Dirty::default(), Instant::now());
        dirty.add(News::Changed(image("a")), now);
        dirty.add(News::Namespace(Kind::Images, "default".into()), now);
        dirty.mark(Kind::Images);
        assert!(dirty.take(Kind::Images).is_none());
        dirty.add(News::Gap(Kind::Images), now);
        assert_eq!(dirty.take(Kind::Images).unwrap().asked(), Asked::All(Kind::Images));
        assert!(dirty.take(Kind::Containers).is_none());
    }

    #[test]
    fn many_changes_of_one_are_one_and_the_first_counts() {
        let (mut dirty, now) = heard();
        for millis in 0..10 {
            dirty.add(News::Changed(image("a")), now + Duration::from_millis(millis));
        }
        assert_eq!(dirty.len(), 1);
        let question = dirty.take(Kind::Images).unwrap();
        assert_eq!(question.asked(), Asked::These(Kind::Images, vec![image("a")]));
        assert!(question.covers(&image("a")) && !question.covers(&image("b")));
        assert_eq!(question.since(&image("a")), Some(now));
        assert!(!dirty.has(Kind::Images));
    }

    #[test]
    fn a_namespace_has_its_names_and_leaves_others() {
        let (mut dirty, now) = heard();
        let other = Held::new(Kind::Images, "other", "b").unwrap();
        dirty.add(News::Changed(image("a")), now);
        dirty.add(News::Changed(other.clone()), now);
        dirty.add(News::Namespace(Kind::Images, "default".into()), now + Duration::from_secs(1));
        let question = dirty.take(Kind::Images).unwrap();
        assert_eq!(question.asked(), Asked::Namespace(Kind::Images, "default".into()));
        assert_eq!(question.since(&image("a")), Some(now));
        assert!(question.covers(&image("z")) && !question.covers(&other));
        assert_eq!(
            dirty.take(Kind::Images).unwrap().asked(),
            Asked::These(Kind::Images, vec![other])
        );
    }

    #[test]
    fn too_many_are_all_in_bounded_space() {
        let (mut dirty, now) = heard();
        for number in 0..10_000 {
            dirty.add(News::Changed(image(&format!("i{number}"))), now);
        }
        assert_eq!(dirty.len(), NAMES + 1);
        let question = dirty.take(Kind::Images).unwrap();
        assert!(question.is_all() && !dirty.has(Kind::Images));
        for number in 0..100 {
            dirty.add(News::Namespace(Kind::Images, format!("n{number}").into()), now);
        }
        assert_eq!(dirty.len(), NAMESPACES + 1);
    }

    #[test]
    fn what_was_not_answered_is_asked_again() {
        let (mut dirty, now) = heard();
        let later = now + Duration::from_secs(1);
        dirty.add(News::Changed(image("a")), now);
        let question = dirty.take(Kind::Images).unwrap();
        dirty.add(News::Changed(image("a")), later);
        dirty.put_back(question);
        let question = dirty.take(Kind::Images).unwrap();
        assert_eq!((question.since(&image("a")), question.len()), (Some(now), 1));
        dirty.mark(Kind::Images);
        let question = dirty.take(Kind::Images).unwrap();
        assert_eq!(question.since(&image("a")), None);
        dirty.add(News::Gap(Kind::Images), later);
        dirty.put_back(question);
        let question = dirty.take(Kind::Images).unwrap();
        assert_eq!((question.is_all(), question.since(&image("a"))), (true, Some(later)));
    }

    #[test]
    fn state_is_the_nodes_own() {
        let mut dirty = Dirty::default();
        dirty.add(News::State, Instant::now());
        assert!(dirty.state && dirty.len() == 1);
    }
}
