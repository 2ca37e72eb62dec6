//! One collection, from the opening of the epoch to its end.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

use super::epoch::Epoch;
use super::graph::{Batch, Graph};
use super::local;
use super::node::Id;
use crate::error::{Error, Result};
use crate::shared::Shared;

/// Things that one transaction drops at most, unless a circle has more.
const TRANSACTION: usize = 256;
/// The longest pause between tries after a collection that was given up.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// When collections run.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the start to the first.
    pub startup_delay: Duration,
    /// From what asks for one to its begin.
    pub schedule_delay: Duration,
    /// The most that one may take.
    pub deadline: Duration,
}

/// Runs collections, one at a time. Clones are the same collector.
#[derive(Clone)]
pub struct Collector(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    pace: Pace,
    /// Counts who has asked; a run answers all that asked before it began.
    asked: AtomicU64,
    served: AsyncMutex<u64>,
    last: Mutex<Stats>,
}

/// What a collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many were dropped, by kind.
    pub dropped: BTreeMap<String, u64>,
    /// Bytes of blobs that were freed.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Collector {
    pub(crate) fn new(shared: Arc<Shared>, pace: Pace) -> Self {
        Self(Arc::new(Inner {
            shared,
            pace,
            asked: AtomicU64::new(0),
            served: AsyncMutex::default(),
            last: Mutex::default(),
        }))
    }

    /// Runs a collection that begins after this call, or waits for one that another caller runs.
    ///
    /// # Errors
    /// [`Error::Neighbour`] when one is missing, [`Error::CollectionAborted`], [`Error::Store`]. What
    /// was dropped until then was dead.
    pub async fn collect(&self) -> Result<Stats> {
        let ticket = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut served = self.0.served.lock().await;
        if *served >= ticket {
            return Ok(self.last().clone());
        }
        let answers = self.0.asked.load(Ordering::SeqCst);
        let stats = self.run().await?;
        *served = answers;
        self.last().clone_from(&stats);
        Ok(stats)
    }

    /// After a deletion: asks for a collection, and with `wait` runs one.
    ///
    /// # Errors
    /// With `wait`, as [`Collector::collect`].
    pub async fn after_deletion(&self, wait: bool) -> Result<()> {
        if wait {
            return self.collect().await.map(drop);
        }
        self.0.shared.demand.deleted();
        Ok(())
    }

    /// Runs collections as they are asked for, until cancelled.
    pub async fn schedule(self, token: CancellationToken) {
        let work = async {
            let mut pause = Some(self.0.pace.startup_delay);
            loop {
                match pause {
                    Some(pause) => {
                        let _ = tokio::time::timeout(pause, self.0.shared.demand.wanted()).await;
                    }
                    None => self.0.shared.demand.wanted().await,
                }
                tokio::time::sleep(self.0.pace.schedule_delay).await;
                pause = match self.collect().await {
                    Ok(stats) => {
                        tracing::debug!(?stats, "collected");
                        None
                    }
                    Err(error) => {
                        let next = pause.map_or(Duration::from_secs(1), |last| last * 2);
                        let next = next.clamp(Duration::from_secs(1), LONGEST_PAUSE);
                        tracing::info!(%error, next = ?next, "collection given up");
                        Some(next)
                    }
                };
            }
        };
        token.run_until_cancelled(work).await;
    }

    /// Counts a thing that another service refers to as in use.
    pub fn pin(&self, id: &Id) {
        self.0.shared.epochs.enter().touch(id);
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Stats> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self) -> Result<Stats> {
        let (shared, begun) = (&self.0.shared, Instant::now());
        shared.demand.satisfied();
        let epoch = shared.epochs.open(self.number());
        let work = tokio::time::timeout(self.0.pace.deadline, self.collect_in(&epoch)).await;
        shared.epochs.close(epoch.number());
        for peer in shared.peers.iter() {
            if let Err(error) = peer.end(epoch.number()).await {
                // The next epoch takes this one's place.
                tracing::debug!(service = peer.name(), %error, "end epoch");
            }
        }
        let mut stats = work.map_err(|_| aborted(&epoch, "its deadline passed"))??;
        stats.elapsed = begun.elapsed();
        Ok(stats)
    }

    /// Grows, also over restarts.
    fn number(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let last = self.0.shared.epochs.last();
        u64::try_from(now.as_micros()).unwrap_or(u64::MAX).max(last + 1)
    }

    async fn collect_in(&self, epoch: &Arc<Epoch>) -> Result<Stats> {
        let shared = &self.0.shared;
        // In this order: a service refers only to those before it and to this one, so that its
        // announcements always find an open epoch.
        let mut incarnations = Vec::new();
        for peer in shared.peers.iter() {
            incarnations.push(peer.begin(epoch.number()).await?);
        }
        shared.epochs.settle().await;
        let mut read = vec![local::nodes(shared).await?];
        for peer in shared.peers.iter() {
            read.push(peer.nodes(epoch.number()).await?);
        }
        let graph = Graph::new(read);
        let mut dead = graph.dead(&epoch.touched());
        let refs = graph.refs(&dead);
        let mut stats = Stats::default();
        for Batch { owner, groups } in graph.order(&dead) {
            for part in transactions(groups) {
                let batch: Vec<Id> =
                    part.into_iter().filter(|id| graph.contains(&dead, id)).collect();
                if batch.is_empty() {
                    continue;
                }
                if epoch.is_spoiled() {
                    return Err(aborted(epoch, "a reference could not be announced"));
                }
                let swept = match owner.checked_sub(1) {
                    None => local::sweep(shared, epoch, batch, refs.clone()).await?,
                    Some(at) => {
                        let (peer, incarnation) = (&shared.peers[at], incarnations[at]);
                        let asked = peer.sweep(epoch.number(), incarnation, batch.clone());
                        let dropped: HashSet<Id> = asked.await?.into_iter().collect();
                        let mut spared: HashSet<Id> = batch.into_iter().collect();
                        spared.retain(|id| !dropped.contains(id));
                        let dropped = dropped.into_iter().collect();
                        local::Swept { dropped, spared, bytes: 0 }
                    }
                };
                graph.revive(&mut dead, swept.spared);
                stats.add(&swept.dropped, swept.bytes);
            }
        }
        Ok(stats)
    }
}

impl Stats {
    fn add(&mut self, dropped: &[Id], bytes: u64) {
        self.bytes += bytes;
        for id in dropped {
            *self.dropped.entry(id.kind.clone()).or_default() += 1;
        }
    }
}

/// Cuts groups into parts of one transaction each, never through a group.
fn transactions(groups: Vec<Vec<Id>>) -> Vec<Vec<Id>> {
    let mut parts: Vec<Vec<Id>> = Vec::new();
    for group in groups {
        match parts.last_mut().filter(|part| part.len() + group.len() <= TRANSACTION) {
            Some(part) => part.extend(group),
            None => parts.push(group),
        }
    }
    parts
}

fn aborted(epoch: &Epoch, why: &'static str) -> Error {
    Error::CollectionAborted { epoch: epoch.number(), why }
}
