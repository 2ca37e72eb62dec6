//! Changes from before the ring, read from etcd by a watch of its own.
//!
//! It goes on in the ring as soon as that is known to have all that follows: with the first change that the
//! ring has too, or at once if there is none before. While nothing changes the watch stays etcd's, which
//! costs as good as nothing.

use std::sync::Arc;

use berth_filters::Filter;
use tokio::time::{Instant, timeout_at};

use super::fields::Fields;
use super::fresh::Name;
use super::item::{Item, Key};
use super::link::Linked;
use super::one::View;
use super::reader::Reader;
use super::state::{Seen, see_entry};
use super::told::Told;
use crate::backoff::Backoff;
use crate::peers::etcd::{self, Entry, Watch};
use crate::{Error, Result};

pub(super) struct History {
    /// The revision wanted next.
    from: i64,
    watch: Option<(Watch, Linked)>,
    /// That `from` is of.
    history: u64,
    pause: Backoff,
}

/// Some of it.
#[derive(Default)]
pub(super) struct Recalled {
    pub changes: Vec<Told>,
    /// The ring has what follows, from the change of this number on.
    pub joined: Option<u64>,
}

impl History {
    pub fn new(from: i64, history: u64) -> Self {
        Self { from, watch: None, history, pause: super::pauses() }
    }

    /// All up to here was told.
    pub fn told(&self) -> i64 {
        self.from - 1
    }

    /// What comes next, or nothing when `beat` has come or etcd has nothing new.
    pub async fn next(&mut self, of: &Reader, filter: &Filter, beat: Instant) -> Result<Recalled> {
        let view = &of.view;
        if let Some(next) = self.joined(view)? {
            return Ok(Recalled { changes: Vec::new(), joined: Some(next) });
        }
        // Nothing is lost by that: neither of the watch, nor the connection once it is there.
        let Ok(told_next) = timeout_at(beat, self.told_next(of)).await else {
            return Ok(Recalled::default());
        };
        match told_next {
            Ok(etcd::Told::Changes { changes, whole }) => {
                self.pause.reset();
                let told = changes.iter().filter_map(|change| told(view, filter, change)).collect();
                self.from = self.from.max(whole + 1);
                Ok(Recalled { changes: told, joined: None })
            }
            Ok(etcd::Told::Alive(_)) => Ok(Recalled::default()),
            Err(error @ Error::Compacted { .. }) => Err(error),
            Err(error) => {
                if let Some((_, linked)) = self.watch.take() {
                    of.link.broken(&linked);
                }
                tracing::debug!(kind = view.kind.name(), %error, "history of a watch is interrupted");
                let until = beat.min(Instant::now() + self.pause.wait());
                tokio::time::sleep_until(until).await;
                Ok(Recalled::default())
            }
        }
    }

    fn joined(&self, view: &View) -> Result<Option<u64>> {
        let state = view.state();
        if state.history != self.history {
            return Err(Error::Ahead { asked: self.from, newest: state.revision });
        }
        Ok(state.ring.from(self.from))
    }

    async fn told_next(&mut self, of: &Reader) -> Result<etcd::Told> {
        let watch = match &mut self.watch {
            Some((watch, _)) => watch,
            none => {
                let linked = of.link.get().await?;
                let watch = linked.etcd.watch(&of.view.prefix, self.from, true);
                let watch = Box::pin(watch).await?;
                &mut none.insert((watch, linked)).0
            }
        };
        watch.next().await
    }
}

/// A change as it is told. Etcd does not say here what was written over: what does not match is told as
/// gone, as it may have matched before.
fn told(view: &View, filter: &Filter, change: &etcd::Change) -> Option<Told> {
    let matches = |item: &Item| filter.matches(&Fields::new(view.kind, item));
    match change {
        etcd::Change::Put(entry) => {
            let item = item(view, entry)?;
            Some(Told { deleted: !matches(&item), item })
        }
        etcd::Change::Deleted { key, modified, previous } => {
            let before = previous.as_ref().and_then(|entry| item(view, entry));
            let item = match before {
                Some(item) if !matches(&item) => return None,
                Some(item) => item,
                None => bare(&Name::read(&view.layout, view.kind, key).ok()?, *modified),
            };
            Some(Told { deleted: true, item })
        }
    }
}

fn item(view: &View, entry: &Entry) -> Option<Arc<Item>> {
    let Seen::Put(_, fresh) = see_entry(&view.layout, view.kind, entry) else { return None };
    let bare = Arc::unwrap_or_clone(bare(&fresh.name, fresh.revision));
    Some(Arc::new(Item { value: Some(fresh.value.into()), ..bare }))
}

/// Something of which only the name is known.
fn bare(name: &Name, revision: i64) -> Arc<Item> {
    let Key { node, namespace, name } = name.key();
    let (node, namespace, name) = (node.into(), namespace.into(), name.into());
    Arc::new(Item { node, namespace, name, revision, put: 0, value: None })
}
