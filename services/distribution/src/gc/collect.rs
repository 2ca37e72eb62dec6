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

    /// Counts a thing that another service is about to refer to as in use, if it is there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn pin(&self, id: Id) -> Result<()> {
        local::pin(&self.0.shared, id).await
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Stats> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self) -> Result<Stats> {
        let (shared, begun) = (&self.0.shared, Instant::now());
        let until = begun + self.0.pace.deadline;
        shared.demand.satisfied();
        let epoch = shared.epochs.open(self.number());
        let members = self.begin(&epoch).await;
        let in_it = members.is_ok();
        let work = match members {
            Ok(members) => self.collect_in(&epoch, &members, until).await,
            Err(error) => Err(error),
        };
        match self.end(&epoch).await {
            Ok(()) if in_it => shared.epochs.close(epoch.number()),
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "end epoch"),
        }
        let mut stats = work?;
        stats.elapsed = begun.elapsed();
        Ok(stats)
    }

    /// Opens the epoch at all neighbours; answers which run of each this is. In their order: one
    /// refers only to those before it and to this service, so that it always announces to an owner
    /// that is in the epoch.
    async fn begin(&self, epoch: &Epoch) -> Result<Vec<u64>> {
        let mut members = Vec::new();
        for peer in self.0.shared.peers.iter() {
            members.push(peer.begin(epoch.number()).await?);
        }
        Ok(members)
    }

    /// Closes the epoch at the neighbours, in the same order: whoever refers to an owner announces
    /// to it until that owner sweeps no more. After a failure the rest, this service too, goes on
    /// announcing until the next epoch takes this one's place.
    async fn end(&self, epoch: &Epoch) -> Result<()> {
        for peer in self.0.shared.peers.iter() {
            peer.end(epoch.number()).await?;
        }
        Ok(())
    }

    /// Grows, also over restarts.
    fn number(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let last = self.0.shared.epochs.last();
        u64::try_from(now.as_micros()).unwrap_or(u64::MAX).max(last + 1)
    }

    /// Marks and sweeps. The deadline is looked at between steps: a sweep that nobody waits for any
    /// more could still go on.
    async fn collect_in(
        &self,
        epoch: &Arc<Epoch>,
        members: &[u64],
        until: Instant,
    ) -> Result<Stats> {
        let shared = &self.0.shared;
        let settled = tokio::time::timeout_at(until.into(), shared.epochs.settle()).await;
        settled.map_err(|_| late(epoch))?;
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
                if Instant::now() > until {
                    return Err(late(epoch));
                }
                self.all_in(epoch, members).await?;
                let swept = match owner.checked_sub(1) {
                    None => local::sweep(shared, epoch, batch, refs.clone()).await?,
                    Some(at) => self.sweep_at(epoch, members, at, batch).await?,
                };
                graph.revive(&mut dead, swept.spared);
                stats.add(&swept.dropped, swept.bytes);
            }
        }
        Ok(stats)
    }

    /// Asks every neighbour whether it is still in the epoch, in the run that began it.
    async fn all_in(&self, epoch: &Epoch, members: &[u64]) -> Result<()> {
        for (peer, incarnation) in self.0.shared.peers.iter().zip(members) {
            peer.sweep(epoch.number(), *incarnation, vec![]).await?;
        }
        Ok(())
    }

    async fn sweep_at(
        &self,
        epoch: &Epoch,
        members: &[u64],
        at: usize,
        batch: Vec<Id>,
    ) -> Result<local::Swept> {
        let peer = &self.0.shared.peers[at];
        let asked = peer.sweep(epoch.number(), members[at], batch.clone());
        let dropped: HashSet<Id> = asked.await?.into_iter().collect();
        let spared = batch.into_iter().filter(|id| !dropped.contains(id)).collect();
        // Its rows of a lease were the lease.
        let dropped = dropped.into_iter().filter(|id| peer.owns(&id.kind)).collect();
        Ok(local::Swept { dropped, spared, bytes: 0 })
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

fn late(epoch: &Epoch) -> Error {
    Error::CollectionAborted { epoch: epoch.number(), why: "its deadline passed" }
}
