//! Following one kind of objects in etcd: list once, then watch, whatever becomes of etcd.
//!
//! A watch that ended is taken up where it was. Only when that cannot be is all listed again: see [`Reason`].
//!
//! What the listings differ in is told as changes, so that watchers go on.
//!
//! Calls of etcd are boxed here: their futures are large, and would be a part of every task that may make
//! one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::Link;
use super::one::View;
use super::reason::Reason;
use super::shelf::Shelf;
use super::state::{see, see_entry};
use crate::backoff::Backoff;
use crate::peers::etcd::{Entry, Etcd, Page, Seen, Told};
use crate::{Error, Result};

/// How often all may be listed again because there is room.
const ROOM_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Follower {
    view: Arc<View>,
    link: Link,
    /// Whose revisions the view has.
    cluster: u64,
    /// To be done before watching on.
    list: Option<Reason>,
    /// Etcd had forgotten what was asked for, and no listing has come to its end since.
    forgotten: bool,
    watched: bool,
    /// When all was last listed again for want of room.
    roomed: Option<Instant>,
    pause: Backoff,
}

impl Follower {
    pub fn new(view: Arc<View>, link: Link) -> Self {
        Self {
            view,
            link,
            cluster: 0,
            list: None,
            forgotten: false,
            watched: false,
            roomed: None,
            pause: super::pauses(),
        }
    }

    /// Keeps the view, for ever.
    pub async fn follow(mut self) -> Infallible {
        loop {
            match Box::pin(self.session()).await {
                Ok(reason) => self.list = Some(reason),
                Err(error @ Error::Compacted { .. }) => {
                    // Once is what happens. Twice, and the view grows old unnoticed.
                    if std::mem::replace(&mut self.forgotten, true) {
                        self.view.lost(&error);
                    }
                    self.list = self.view.is_read().then_some(Reason::Compacted);
                }
                Err(error) => self.view.lost(&error),
            }
            // Whatever it was: it may be so again at once.
            tokio::time::sleep(self.pause.wait()).await;
        }
    }

    /// One connection, as long as it holds, or until all has to be listed again.
    async fn session(&mut self) -> Result<Reason> {
        let linked = self.link.get().await?;
        let end = self.through(&linked.etcd).await;
        match end {
            Ok(_) | Err(Error::Compacted { .. }) => {}
            Err(_) => self.link.broken(&linked),
        }
        end
    }

    async fn through(&mut self, etcd: &Etcd) -> Result<Reason> {
        let seen = Box::pin(etcd.seen()).await?;
        let list = match self.list {
            Some(reason) => Some(reason),
            None if !self.view.is_read() => None,
            None => self.judge(etcd, seen).await?,
        };
        if list.is_some() || !self.view.is_read() {
            // Not forgotten if it does not succeed.
            self.list = list;
            self.list(etcd, list).await?;
            (self.list, self.forgotten) = (None, false);
        }
        self.watch(etcd).await
    }

    /// Whether what etcd has now follows from what the view has.
    async fn judge(&self, etcd: &Etcd, seen: Seen) -> Result<Option<Reason>> {
        let (revision, witness) = self.view.witness();
        if seen.cluster != self.cluster || seen.revision < revision {
            return Ok(Some(Reason::Other));
        }
        // A member that lost its data may come back under the same number, and grow beyond where we were: the
        // object written last must have been there, then.
        let key = match &witness {
            Some((key, _)) => key.as_str(),
            None => &self.view.prefix,
        };
        let page = match Box::pin(etcd.page(key, None, revision, 1)).await {
            Err(Error::Compacted { .. }) => return Ok(Some(Reason::Compacted)),
            page => page?,
        };
        let there = page.entries.first();
        let same = match &witness {
            Some((key, modified)) => there
                .is_some_and(|entry| entry.key == key.as_bytes() && entry.modified == *modified),
            // There may be what is not shown, or what has been written over since.
            None => there.is_none() || self.view.unshown() > 0 || self.view.objects() > 0,
        };
        Ok((!same).then_some(Reason::Other))
    }

    /// Reads all as of one revision.
    async fn list(&mut self, etcd: &Etcd, reason: Option<Reason>) -> Result<()> {
        let view = self.view.clone();
        let mut shelf = Shelf::default();
        let first = Box::pin(etcd.page(&view.prefix, None, 0, view.settings.page)).await?;
        let Seen { cluster, revision } = first.seen;
        let mut page = first;
        loop {
            let last = self.take(&mut shelf, &page, cluster)?;
            let Some(after) = last else { break };
            let next = etcd.page(&view.prefix, Some(&after), revision, view.settings.page);
            page = Box::pin(next).await?;
        }
        let fell = revision < view.revision();
        let anew = fell || cluster != self.cluster || reason == Some(Reason::Other);
        self.cluster = cluster;
        view.adopt(shelf, revision, anew, reason);
        Ok(())
    }

    /// Puts a page on the shelf. Answers the key after which there is more.
    fn take(&self, shelf: &mut Shelf, page: &Page, cluster: u64) -> Result<Option<bytes::Bytes>> {
        let step = "listing objects";
        if page.seen.cluster != cluster {
            let reason = "another cluster answered in its midst".into();
            return Err(Error::Etcd { step, reason });
        }
        let view = &self.view;
        let seen = page.entries.iter().map(|entry| see_entry(&view.layout, view.kind, entry));
        let seen: Vec<_> = seen.collect();
        view.state().list(shelf, seen);
        match page.entries.last() {
            Some(Entry { key, .. }) if page.more => Ok(Some(key.clone())),
            None if page.more => {
                let reason = "there is more, and nothing comes".into();
                Err(Error::Etcd { step, reason })
            }
            _ => Ok(None),
        }
    }

    async fn watch(&mut self, etcd: &Etcd) -> Result<Reason> {
        let view = self.view.clone();
        let from = view.revision() + 1;
        let mut watch = Box::pin(etcd.watch(&view.prefix, from, false)).await?;
        if std::mem::replace(&mut self.watched, true) {
            view.counts.reconnected();
        }
        view.found();
        loop {
            match watch.next().await? {
                Told::Changes { changes, whole } => {
                    let seen = changes.iter().map(|change| see(&view.layout, view.kind, change));
                    view.apply(seen.collect(), whole);
                }
                Told::Alive(seen) if seen.cluster != self.cluster => return Ok(Reason::Other),
                Told::Alive(seen) if seen.revision < view.revision() => {
                    // A member that lags says so too. What is asked is answered for all of them.
                    let seen = Box::pin(etcd.seen()).await?;
                    if let Some(reason) = self.judge(etcd, seen).await? {
                        return Ok(reason);
                    }
                }
                Told::Alive(_) => {
                    if view.alive() && self.roomed.is_none_or(|at| at.elapsed() > ROOM_EVERY) {
                        self.roomed = Some(Instant::now());
                        return Ok(Reason::Room);
                    }
                }
            }
            self.pause.reset();
        }
    }
}
