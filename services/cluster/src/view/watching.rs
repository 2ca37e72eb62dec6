//! A watch of a client: what is there, then what changes, from wherever it left off.
//!
//! | phase | told from |
//! |---|---|
//! | [`Phase::Scan`] | the objects, as they were when it began |
//! | [`Phase::History`] | etcd, by a watch of its own, until the ring has what follows |
//! | [`Phase::Ring`] | the ring |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use berth_filters::Filter;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::fields::Fields;
use super::history::History;
use super::item::Item;
use super::one::{News, View, Worth};
use super::page::MAX_BYTES;
use super::reader::Reader;
use super::ring::{Change, Found, Group};
use super::scan::Scan;
use super::state::State;
use super::told::{PIECE, Told};
use crate::{Error, Result};

/// Some changes.
#[derive(Debug)]
pub struct Piece {
    /// In their order; may be empty.
    pub changes: Vec<Told>,
    /// Of the view. The revision is how far this watch is: it may go on at the one after. 0: not anywhere
    /// yet, it would have to begin anew.
    pub worth: Worth,
    /// What was there when the watch began has been told now. Is set once; not before the ring has what
    /// follows.
    pub caught_up: bool,
}

pub(super) enum Phase {
    Scan(Scan),
    History(Box<History>),
    Ring,
}

/// Where a watch begins.
pub(super) struct Start {
    pub phase: Phase,
    /// The number of the next change.
    pub next: u64,
    /// What is wanted.
    pub from: i64,
    /// The view was there.
    pub reached: bool,
    /// That `from` is of.
    pub history: u64,
}

/// A watch. It ends with the first error.
pub struct Watching {
    reader: Arc<Reader>,
    _place: OwnedSemaphorePermit,
    filter: Filter,
    phase: Phase,
    news: watch::Receiver<News>,
    /// The number of the next change, for who looks how far behind it is.
    at: Arc<AtomicU64>,
    /// A group that was not told to its end, and how much of it was.
    group: Option<(Arc<Group>, usize)>,
    /// Changes before this revision are not wanted.
    from: i64,
    /// The view was there: what comes is wanted.
    reached: bool,
    /// All up to here was told.
    told: i64,
    caught_up: bool,
    history: u64,
    connected: bool,
    /// When something is told even if nothing happens.
    beat: Instant,
    ended: bool,
}

impl Watching {
    /// From the change of this number on, if it is of `from` or later.
    pub(super) fn new(
        reader: Reader,
        place: OwnedSemaphorePermit,
        filter: Filter,
        start: Start,
    ) -> Self {
        let at = reader.view.watcher(start.next);
        let news = reader.view.news();
        let beat = Instant::now() + reader.view.settings.heartbeat;
        let connected = news.borrow().connected;
        let Start { phase, from, reached, history, .. } = start;
        Self {
            reader: Arc::new(reader),
            _place: place,
            filter,
            phase,
            news,
            at,
            group: None,
            from,
            reached,
            told: (from - 1).max(0),
            caught_up: false,
            history,
            connected,
            beat,
            ended: false,
        }
    }

    fn view(&self) -> &View {
        &self.reader.view
    }

    /// What comes next, and None after an error. While nothing happens: an empty piece now and then, and
    /// when etcd is lost or found.
    pub async fn next(&mut self) -> Option<Result<Piece>> {
        if self.ended {
            return None;
        }
        let piece = self.piece().await;
        self.ended = piece.is_err();
        Some(piece)
    }

    async fn piece(&mut self) -> Result<Piece> {
        loop {
            let piece = match &mut self.phase {
                Phase::Scan(_) => self.scan().await,
                Phase::History(_) => self.recall().await?,
                Phase::Ring => self.ring().await?,
            };
            if let Some(piece) = piece {
                return Ok(piece);
            }
        }
    }

    /// A piece of what is there; None when that is all.
    async fn scan(&mut self) -> Option<Piece> {
        let Phase::Scan(scan) = &mut self.phase else { return None };
        let found = scan.next(&self.reader.view, &self.filter).await;
        if found.is_empty() {
            self.phase = Phase::Ring;
            return None;
        }
        let changes = found.into_iter().map(|item| Told { deleted: false, item }).collect();
        // Nobody can go on from the midst of it.
        Some(self.tell(changes, Some(0), false))
    }

    /// A piece of what etcd still knows; None when the ring has what follows.
    async fn recall(&mut self) -> Result<Option<Piece>> {
        let Phase::History(history) = &mut self.phase else { return Ok(None) };
        let told = history.next(&self.reader, &self.filter, self.beat).await?;
        self.told = history.told();
        if let Some(next) = told.joined {
            self.at.store(next, Ordering::Relaxed);
            (self.from, self.reached) = (self.told + 1, true);
            self.phase = Phase::Ring;
        }
        if told.changes.is_empty() && told.joined.is_some() {
            return Ok(None);
        }
        let connected = self.news.borrow().connected;
        let due = Instant::now() >= self.beat || connected != self.connected;
        if told.changes.is_empty() && !due {
            return Ok(None);
        }
        self.connected = connected;
        Ok(Some(self.tell(told.changes, None, false)))
    }

    /// What the ring has next, or that nothing is new; None when it had nothing that is wanted.
    async fn ring(&mut self) -> Result<Option<Piece>> {
        let taken = self.take()?;
        let changes: Vec<Told> =
            taken.changes.iter().filter_map(|change| self.wanted(change)).collect();
        let caught_up = taken.end && !self.caught_up;
        if !changes.is_empty() || caught_up {
            return Ok(Some(self.tell(changes, None, caught_up)));
        }
        if !taken.end {
            // Others get their turn: a filter may leave nothing of very much.
            tokio::task::yield_now().await;
            return Ok(None);
        }
        self.wait().await
    }

    /// Waits for a change; a piece without any if it is time for that.
    async fn wait(&mut self) -> Result<Option<Piece>> {
        let (next, connected, history) =
            (self.at.load(Ordering::Relaxed), self.connected, self.history);
        let new =
            |news: &News| news.next > next || news.connected != connected || news.history > history;
        let news = tokio::time::timeout_at(self.beat, self.news.wait_for(new)).await;
        // The view lives as long as its reader: what ends is only the time.
        let news = news.ok().and_then(|news| news.ok().map(|news| *news));
        match news {
            Some(news) if news.connected == self.connected => Ok(None),
            news => {
                self.connected = news.map_or(self.connected, |news| news.connected);
                Ok(Some(self.tell(Vec::new(), None, false)))
            }
        }
    }

    /// Who waits for a revision that etcd had before it lost its data waits for what never comes.
    fn follow_history(&mut self, state: &State) -> Result<()> {
        if state.history != self.history && !self.reached {
            return Err(Error::Ahead { asked: self.from, newest: state.revision });
        }
        self.reached |= state.revision + 1 >= self.from;
        if state.history != self.history {
            // As far as it was told, it was of the other one.
            (self.from, self.history, self.told) = (0, state.history, 0);
        }
        Ok(())
    }

    /// Where one goes on that ends here; 0: from the beginning, as nothing was told to its end yet. 1 would
    /// be the first change of all, and leave what was known before that.
    fn resume(&self) -> i64 {
        if self.told == 0 { 0 } else { self.told + 1 }
    }

    fn tell(&mut self, changes: Vec<Told>, revision: Option<i64>, caught_up: bool) -> Piece {
        let mut worth = self.view().worth();
        worth.revision = revision.unwrap_or(self.told);
        self.caught_up |= caught_up;
        self.beat = Instant::now() + self.view().settings.heartbeat;
        Piece { changes, worth, caught_up }
    }

    /// How a change looks through the filter: what does not match any more is gone for who looks.
    fn wanted(&self, change: &Change) -> Option<Told> {
        let matches = |item: &&Arc<Item>| self.filter.matches(&Fields::new(self.view().kind, item));
        let after = change.after.as_ref().filter(matches);
        let before = || change.before.as_ref().filter(matches);
        let (deleted, item) = match after {
            Some(item) => (false, item),
            None => (true, before()?),
        };
        Some(Told { deleted, item: item.clone() })
    }

    /// Takes some changes from the ring, whether they are wanted or not.
    fn take(&mut self) -> Result<Taken> {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        let mut next = self.at.load(Ordering::Relaxed);
        let reader = self.reader.clone();
        let state = reader.view.state();
        self.follow_history(&state)?;
        let end = loop {
            if changes.len() >= PIECE || bytes >= MAX_BYTES {
                break false;
            }
            let (group, done) = match self.group.take() {
                Some(group) => group,
                None => match state.ring.at(next) {
                    Found::Group(group) => (group, 0),
                    Found::Dropped(behind) => {
                        return Err(Error::Behind { behind, resume: self.resume() });
                    }
                    Found::End => {
                        self.told = self.told.max(state.revision);
                        break true;
                    }
                },
            };
            let wanted = group.anew || group.revision >= self.from;
            let rest = if wanted { &group.changes[done..] } else { &[] };
            let mut taken = 0;
            for change in rest.iter().take(PIECE - changes.len()) {
                if bytes >= MAX_BYTES {
                    break;
                }
                let item = change.after.as_ref().or(change.before.as_ref());
                bytes += item.map_or(0, |item| item.size());
                changes.push(change.clone());
                taken += 1;
            }
            if group.anew {
                self.told = 0;
            }
            if taken == rest.len() {
                (next, self.told) = (group.end(), self.told.max(group.whole));
            } else {
                self.group = Some((group, done + taken));
            }
        };
        drop(state);
        self.at.store(next, Ordering::Relaxed);
        Ok(Taken { changes, end })
    }
}

/// What was taken from the ring.
struct Taken {
    changes: Vec<Change>,
    /// There is nothing more now.
    end: bool,
}
