//! One collection, from the opening of the epoch to its end.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::demand::Demand;
use super::epoch::Epoch;
use super::graph::{Batch, Graph, Marks};
use super::id::Id;
use super::local;
use super::pace::{Load, Pace};
use super::stats::Stats;
use crate::counts;
use crate::error::{Error, Result};
use crate::shared::Shared;

/// Things that one transaction drops at most, unless a circle has more.
const TRANSACTION: usize = 256;

/// Runs collections, one at a time. Clones are the same collector.
#[derive(Clone)]
pub struct Collector(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    pace: Mutex<Pace>,
    repaced: Notify,
    /// Counts who has asked; a run answers all that asked before it began.
    asked: AtomicU64,
    served: AsyncMutex<u64>,
    last: Mutex<Stats>,
    load: Mutex<Load>,
}

impl Collector {
    pub(crate) fn new(shared: Arc<Shared>, pace: Pace) -> Self {
        Self(Arc::new(Inner {
            shared,
            pace: Mutex::new(pace),
            repaced: Notify::new(),
            asked: AtomicU64::new(0),
            served: AsyncMutex::default(),
            last: Mutex::default(),
            load: Mutex::default(),
        }))
    }

    /// Runs a collection that begins after this call, or waits for one that another caller runs. One
    /// that has begun goes on to its end, or that of the process, also when its caller leaves.
    ///
    /// # Errors
    /// [`Error::Neighbour`] when one is missing, [`Error::CollectionAborted`], [`Error::Store`]. What
    /// was dropped until then was dead.
    pub async fn collect(&self) -> Result<Stats> {
        let (collector, stop) = (self.clone(), self.0.shared.tasks.token());
        let collection = async move {
            let done = stop.run_until_cancelled(collector.collect_here()).await;
            done.unwrap_or(Err(Error::Stopping("collection")))
        };
        self.0.shared.to_its_end("collection", collection).await
    }

    async fn collect_here(&self) -> Result<Stats> {
        let ticket = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut served = self.0.served.lock().await;
        if *served >= ticket {
            return Ok(self.last().clone());
        }
        let answers = self.0.asked.load(Ordering::SeqCst);
        let stats = self.run().await?;
        self.0.load.lock().unwrap_or_else(PoisonError::into_inner).add(stats.busy);
        *served = answers;
        self.last().clone_from(&stats);
        Ok(stats)
    }

    /// Runs a collection and waits until the files of what went are gone, here and at the
    /// neighbours.
    ///
    /// # Errors
    /// As [`Collector::collect`].
    pub async fn cleared(&self) -> Result<()> {
        // Others that are deleted meanwhile go in the same collection.
        tokio::time::sleep(self.pace().schedule_delay).await;
        self.collect().await?;
        for peer in self.0.shared.peers.iter() {
            peer.clear().await?;
        }
        Ok(())
    }

    /// So much has changed in another service.
    pub fn reported(&self, counts: berth_epochs::Counts) {
        self.0.shared.demand.add(counts);
    }

    /// What asks for collections.
    #[must_use]
    pub fn demand(&self) -> &Demand {
        &self.0.shared.demand
    }

    /// When they run.
    #[must_use]
    pub fn pace(&self) -> Pace {
        *self.0.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on they run as often as this says.
    pub fn set_pace(&self, gc: &berth_config::Gc) {
        *self.0.pace.lock().unwrap_or_else(PoisonError::into_inner) = Pace::of(gc);
        self.demand().set(gc.mutation_threshold, gc.deletion_threshold);
        self.0.repaced.notify_one();
    }

    /// Returns when it has been said anew how often they run.
    pub async fn repaced(&self) {
        self.0.repaced.notified().await;
    }

    /// How long they have taken.
    #[must_use]
    pub fn load(&self) -> Load {
        *self.0.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a thing that another service is about to refer to as in use, if it is there, with what it
    /// keeps alive unless it is `alone`.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Neighbour`].
    pub async fn pin(&self, id: Id, alone: bool) -> Result<()> {
        local::pin(&self.0.shared, id, alone).await
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Stats> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self) -> Result<Stats> {
        let wanted = self.0.shared.demand.take();
        let done = counts::COLLECTIONS.of(self.collect_once()).await;
        if let Ok(stats) = &done {
            counts::collected(stats);
        } else {
            // Somebody else may have asked for it than who is told.
            self.0.shared.demand.add(wanted);
        }
        done
    }

    async fn collect_once(&self) -> Result<Stats> {
        let (shared, begun) = (&self.0.shared, Instant::now());
        let until = begun + self.pace().deadline;
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
        let mut stats = Stats::default();
        let own = timed(&mut stats.busy, local::nodes(shared)).await?;
        let mut read = vec![own];
        for peer in shared.peers.iter() {
            read.push(peer.nodes(epoch.number()).await?);
        }
        let marking = Instant::now();
        let graph = Graph::new(read);
        let marks = graph.mark(&epoch.touched());
        let below = graph.below(&marks.dead);
        stats.busy += marking.elapsed();
        let used = self.watch(epoch, members, &graph, &marks).await?;
        let mut dead = marks.dead;
        graph.revive(&mut dead, used);
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
                    None => {
                        let sweep = local::sweep(shared, epoch, batch, below.clone());
                        timed(&mut stats.busy, sweep).await?
                    }
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

    /// Says to whom it belongs what flat leases alone keep; answers what of it is used already. Whoever
    /// uses it from now on has the owners of what it refers to spare that.
    async fn watch(
        &self,
        epoch: &Epoch,
        members: &[u64],
        graph: &Graph,
        marks: &Marks,
    ) -> Result<Vec<Id>> {
        // Here all: a neighbour that has just begun asks.
        let mut used = epoch.watch(graph.flat(marks, None));
        for (at, peer) in self.0.shared.peers.iter().enumerate() {
            let flat = graph.flat(marks, Some(at + 1));
            if !flat.things.is_empty() {
                used.extend(peer.watch(epoch.number(), members[at], flat).await?);
            }
        }
        Ok(used)
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

/// Adds what some work takes.
async fn timed<T>(busy: &mut Duration, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    *busy += begun.elapsed();
    done
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
