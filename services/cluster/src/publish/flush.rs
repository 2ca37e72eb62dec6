//! One registration's time: what is dirty is asked about, what differs is written.
//!
//! Owns: when something is asked and written, and how much at once. A first change goes at once, those that
//! come within the batch's time after it go together. Everything is done in turn here but for the questions:
//! while a write is under way news gather elsewhere, in bounded space.

use std::hash::RandomState;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::asking::{Answer, Asking};
use super::bucket::Bucket;
use super::dirty::{Dirty, KINDS, earlier};
use super::own::Own;
use super::shelf::Shelf;
use super::{Publisher, encode, standing, there};
use crate::backoff::{Backoff, jitter};
use crate::objects::Published;
use crate::peers::etcd::Etcd;
use crate::session::Registration;
use crate::{Error, Result};

/// The most keys of one write, the node's own apart: etcd takes 128 operations as it comes. One that is set up to
/// take less is told by its errors.
pub(super) const KEYS: usize = 99;
/// How many keys go with the first write of a registration: more with each that is made quickly, up to [`KEYS`].
pub(super) const FIRST: usize = 25;
/// Keys under a node's prefixes that are read beyond what it could have written.
const SPARE: usize = 1000;
/// Before a comparison is made again that could not read all.
const CUT: Duration = Duration::from_secs(30);

/// How the latest renewal of the lease went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// There was none yet.
    Awaited,
    /// Well: etcd keeps up.
    Made,
    /// As this says.
    Failed(String),
}

/// What is known and under way while a registration holds.
pub(super) struct Flusher<'p> {
    pub(super) publisher: &'p Publisher,
    pub(super) etcd: &'p Etcd,
    pub(super) lease: i64,
    fresh: bool,
    pub(super) own: Own,
    pub(super) shelves: [Shelf; KINDS.len()],
    pub(super) hasher: RandomState,
    pub(super) bucket: &'p mut Bucket,
    asking: Asking<'p>,
    /// When the truth was asked last.
    asked: Option<Instant>,
    /// When something was written last.
    pub(super) wrote: Option<Instant>,
    compare: Instant,
    renewal: watch::Receiver<Renewal>,
    /// Etcd gave no answer when it was asked last.
    away: bool,
    /// Etcd takes nothing until then.
    pub(super) held_up: Option<Instant>,
    pub(super) backoff: Backoff,
    pub(super) trouble: Option<String>,
    /// The most keys of one write that etcd takes.
    pub(super) keys: usize,
    /// The same, as quick as it is.
    pub(super) window: usize,
    /// Whose turn it is when there is room for one kind only.
    pub(super) turn: bool,
    /// Writes that were refused in a row.
    pub(super) refused: u32,
}

impl<'p> Flusher<'p> {
    pub(super) fn new(
        publisher: &'p Publisher,
        etcd: &'p Etcd,
        registration: &Registration,
        own: Own,
        bucket: &'p mut Bucket,
        renewal: watch::Receiver<Renewal>,
    ) -> Self {
        let most = publisher.settings.max_objects;
        Self {
            publisher,
            etcd,
            lease: registration.lease,
            fresh: registration.fresh,
            own,
            shelves: std::array::from_fn(|_| Shelf::new(most)),
            hasher: RandomState::new(),
            bucket,
            asking: Asking::new(&*publisher.truth),
            asked: None,
            wrote: None,
            compare: Instant::now() + jitter(publisher.settings.compare),
            renewal,
            away: false,
            held_up: None,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(15)),
            trouble: None,
            keys: KEYS,
            window: FIRST,
            turn: false,
            refused: 0,
        }
    }

    /// Publishes until `stop`.
    ///
    /// # Errors
    /// What ends the registration, or makes it doubtful.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<()> {
        self.begin(stop).await?;
        while !stop.is_cancelled() {
            let now = Instant::now();
            if self.write_due(now).is_some_and(|due| due <= now) {
                self.write(stop).await?;
            }
            if self.compare_due().is_some_and(|due| due <= now) {
                match stop.run_until_cancelled(self.read(false, true)).await {
                    None => return Ok(()),
                    Some(read) => self.hold_up(read)?,
                }
            }
            if self.ask_due(now).is_some_and(|due| due <= now) {
                self.asked = Some(now);
                self.asking.ask(&mut self.publisher.dirty(), now);
            }
            self.tell();
            let wake = self.wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                came = self.asking.next() => {
                    let dirty = &mut self.publisher.dirty();
                    let answer = self.asking.take(came, dirty, Instant::now());
                    self.take(answer, dirty);
                }
                () = self.publisher.news.notified() => {}
                // It ends with the registration, which this does not outlive.
                _ = self.renewal.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
        Ok(())
    }

    /// Reads what is there. Nothing is written before that.
    async fn begin(&mut self, stop: &CancellationToken) -> Result<()> {
        loop {
            let Some(read) = stop.run_until_cancelled(self.read(self.fresh, false)).await else {
                return Ok(());
            };
            self.hold_up(read)?;
            let Some(until) = self.held_up.take() else { return Ok(()) };
            self.tell();
            if stop.run_until_cancelled(sleep_until(until)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// When something is to be done although nothing happens.
    fn wake(&mut self) -> Instant {
        let now = Instant::now();
        let due = earlier(self.write_due(now), self.ask_due(now));
        // Nothing is due but what waits for a renewal, which wakes it.
        earlier(due, self.compare_due()).unwrap_or(now + CUT)
    }

    /// What is there is known by no reading as long as something may be written that was sent before.
    fn compare_due(&self) -> Option<Instant> {
        (!self.own.is_doubtful()).then_some(self.compare)
    }

    fn ask_due(&self, now: Instant) -> Option<Instant> {
        let due = self.asking.due(&self.publisher.dirty(), now)?;
        Some(due.max(self.asked.map_or(now, |asked| asked + self.publisher.settings.batch)))
    }

    /// Answers that are waited for may go with what is there already, but not for long.
    pub(super) fn write_due(&mut self, now: Instant) -> Option<Instant> {
        // Under a lease in doubt nothing is written: it would go with the lease, and adds to what etcd is behind with.
        if *self.renewal.borrow() != Renewal::Made {
            return None;
        }
        let waits = self.shelves.iter().any(|shelf| shelf.waiting() > 0);
        let batch = self.publisher.settings.batch;
        // What has to wait for room goes in few pieces.
        let next = self.wrote.map_or(now, |wrote| wrote + batch);
        let keys = waits.then(|| self.bucket.next(now).max(next));
        let due = earlier(keys, self.own.due(now))?;
        let answers = self.asked.filter(|_| self.asking.is_busy()).map(|asked| asked + batch);
        Some(due.max(self.held_up.unwrap_or(now)).max(answers.unwrap_or(now)))
    }

    fn take(&mut self, answer: Answer, dirty: &mut Dirty) {
        match answer {
            Answer::None => {}
            Answer::State(state) => self.own.state(state),
            Answer::Holdings(question, holdings) => {
                let kind = question.kind;
                let Some(place) = super::dirty::place(kind) else { return };
                let layout = &self.publisher.settings.layout;
                let node = &self.publisher.settings.name;
                let more = self.shelves[place].answer(
                    &question,
                    holdings,
                    &self.hasher,
                    |held, object| encode(layout, node, held, object),
                );
                if more.all {
                    dirty.mark(kind);
                }
                let now = Instant::now();
                dirty.names(more.these.into_iter().map(|held| (held, now)));
                let published = self.published(&[]);
                self.own.published(published);
            }
        }
    }

    /// What will be published when `due` is written.
    pub(super) fn published(&self, due: &[(usize, super::shelf::Due)]) -> Published {
        let of = |place: usize| due.iter().filter(move |(of, _)| *of == place).map(|(_, due)| due);
        Published {
            images: self.shelves[0].published(of(0)),
            containers: self.shelves[1].published(of(1)),
            left_out: self.shelves.iter().map(Shelf::left_out).sum(),
        }
    }

    /// Reads what etcd has of the node, so that it is compared with the truth next. Counts what is not as it
    /// was written if it `was_known`.
    async fn read(&mut self, fresh: bool, was_known: bool) -> Result<()> {
        let settings = &self.publisher.settings;
        let (entry, _) = self.etcd.get(self.own.key()).await?;
        self.own.found(entry.as_ref())?;
        let mut next = Instant::now() + jitter(settings.compare);
        for (place, kind) in KINDS.into_iter().enumerate() {
            if !fresh {
                let whose = (&settings.layout, &settings.name, kind);
                let most = settings.max_objects.saturating_add(SPARE);
                let there = there::read(self.etcd, whose, self.lease, most, &self.hasher).await?;
                if there.cut {
                    next = next.min(Instant::now() + CUT);
                }
                let differ = self.shelves[place].found(there);
                if was_known {
                    self.publisher.counts.add_repaired(differ);
                }
            }
            self.publisher.dirty().mark(kind);
        }
        // A reading that has lost its end is made again.
        self.compare = next;
        // A registration begins with the node's state as it is.
        self.publisher.dirty().state |= was_known;
        let published = self.published(&[]);
        self.own.published(published);
        Ok(())
    }

    /// What etcd does not take for a reason that lasts, or does not answer to, is tried again while the
    /// registration holds: as long as the lease is renewed.
    ///
    /// # Errors
    /// All others.
    pub(super) fn hold_up(&mut self, ended: Result<()>) -> Result<()> {
        let Err(error) = ended else {
            if std::mem::take(&mut self.away) {
                self.trouble = None;
                self.backoff.reset();
            }
            return Ok(());
        };
        let away = matches!(error, Error::Away { .. });
        if !away && !matches!(error, Error::NoSpace { .. } | Error::Forbidden { .. }) {
            return Err(error);
        }
        // Certificates and passwords are read when a connection is made.
        if matches!(error, Error::Forbidden { .. }) && self.backoff.at_most() {
            return Err(error);
        }
        self.publisher.counts.failed(&error);
        let text = error.to_string();
        // Each member that does not answer has a text of its own.
        if self.trouble.as_ref() != Some(&text) && !(away && self.away) {
            tracing::warn!(%error, "etcd does not take what this node publishes");
        }
        (self.away, self.trouble) = (away, Some(text));
        let wait = self.backoff.wait();
        self.held_up = Some(Instant::now() + wait);
        self.compare = self.compare.max(Instant::now() + wait);
        Ok(())
    }

    fn tell(&self) {
        let pending =
            self.shelves.iter().map(Shelf::waiting).sum::<usize>() + self.asking.waiting();
        let renewal = match &*self.renewal.borrow() {
            Renewal::Failed(text) => Some(text.clone()),
            _ => None,
        };
        let registration = match self.away || renewal.is_some() {
            true => standing::Registration::Connecting,
            false => standing::Registration::Registered,
        };
        let trouble = self.trouble.clone().or(renewal);
        let trouble = trouble.or_else(|| self.asking.trouble().map(str::to_owned));
        self.publisher.pending(pending);
        let published = self.published(&[]);
        standing::change(&self.publisher.standing, |standing| {
            (standing.registration, standing.trouble, standing.published) =
                (registration, trouble, published);
        });
    }

    /// The registration has ended: all of it is to be looked at again in the next.
    pub(super) fn leave(mut self) {
        let mut dirty = self.publisher.dirty();
        self.asking.leave(&mut dirty);
        for shelf in &self.shelves {
            dirty.names(shelf.unwritten());
        }
        KINDS.into_iter().for_each(|kind| dirty.mark(kind));
        drop(dirty);
        self.publisher.pending(0);
    }
}
