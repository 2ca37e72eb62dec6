//! What containers have written into their root file systems.
//!
//! Bundle walks a snapshot's folder to measure it, which costs what there is in it. So what was measured counts for
//! [`COUNTS`], or [`SHARE`] times as long as it took to measure all of a list, whichever is longer: walking is a sixth of the
//! time at most. [`AT_ONCE`] are walked at once, by one walk for all who ask, and nobody waits longer than [`PATIENCE`] for
//! it: who does is told what was known before, with its time, or nothing. 100 containers that have written ten files each cost 80 ms
//! of processors (debug programs), once in ten seconds, however often their list is asked for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_lifecycle::Tasks;
use berth_proto::runtime::v1 as wire;
use futures::StreamExt;
use tokio::time::Instant;

use crate::peers::Node;
use crate::peers::snapshots::{self, Used};
use crate::time;

/// How long a measurement counts at least, as with containerd.
const COUNTS: Duration = Duration::from_secs(10);
/// By how much longer it counts than measuring a list took.
const SHARE: u32 = 5;
/// So many are measured at once.
const AT_ONCE: usize = 4;
/// How long a list waits for what is being measured.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who was not asked about for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// What measures, and remembers. Clones are the same.
#[derive(Clone)]
pub(super) struct Layers(Arc<Shared>);

struct Shared {
    node: Node,
    jobs: Tasks,
    snapshotter: String,
    /// Where snapshots are, if their snapshotter does not say.
    folder: PathBuf,
    known: Mutex<Known>,
    /// Held by who measures.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Known {
    /// The snapshotter's folder, once it was told.
    folder: Option<PathBuf>,
    layers: HashMap<String, Layer>,
    /// How long the last list took.
    took: Duration,
}

/// A layer, as it was found.
#[derive(Clone, Copy)]
struct Layer {
    measured: Instant,
    at: i64,
    used: Used,
}

/// What is known of layers: their snapshotter's folder, and each by its container's number.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub folder: PathBuf,
    layers: HashMap<String, (i64, Used)>,
}

impl Written {
    /// The bytes of what a container has written, if they are known.
    pub(super) fn used(&self, id: &str) -> Option<u64> {
        self.layers.get(id).map(|(_, used)| used.bytes)
    }

    /// What a container has written, if it is known.
    pub(super) fn of(&self, id: &str) -> Option<wire::FilesystemUsage> {
        let (at, used) = self.layers.get(id)?;
        Some(wire::FilesystemUsage {
            timestamp: *at,
            fs_id: Some(wire::FilesystemIdentifier {
                mountpoint: self.folder.display().to_string(),
            }),
            used_bytes: Some(wire::UInt64Value { value: used.bytes }),
            inodes_used: Some(wire::UInt64Value { value: used.inodes }),
        })
    }
}

impl Layers {
    pub(super) fn new(node: Node, jobs: Tasks, snapshotter: String, folder: PathBuf) -> Self {
        let (known, turn) = Default::default();
        Self(Arc::new(Shared { node, jobs, snapshotter, folder, known, turn }))
    }

    /// What these containers have written, as it was found of late.
    pub(super) async fn of(&self, ids: &[String]) -> Written {
        let measured = async {
            if self.0.stale(ids).is_empty() {
                return;
            }
            let turn = Arc::clone(&self.0.turn).lock_owned().await;
            let (shared, ids) = (Arc::clone(&self.0), self.0.stale(ids));
            let work = async move {
                let _turn = turn;
                shared.measure(ids).await;
            };
            // Who waits for it no longer has begun it: it counts for the next.
            let _ = self.0.jobs.spawn("layers", work).await;
        };
        let _ = tokio::time::timeout(PATIENCE, measured).await;
        let known = self.0.known();
        let found = ids.iter().filter_map(|id| {
            let layer = known.layers.get(id)?;
            Some((id.clone(), (layer.at, layer.used)))
        });
        let layers = found.collect();
        Written { folder: known.folder.clone().unwrap_or_else(|| self.0.folder.clone()), layers }
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        // What is in it is replaced by single calls.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of which nothing is known that counts.
    fn stale(&self, ids: &[String]) -> Vec<String> {
        let known = self.known();
        let counts = COUNTS.max(known.took * SHARE);
        let is_fresh = |id: &&String| {
            known.layers.get(*id).is_some_and(|layer| layer.measured.elapsed() < counts)
        };
        ids.iter().filter(|id| !is_fresh(id)).cloned().collect()
    }

    async fn measure(&self, ids: Vec<String>) {
        let began = Instant::now();
        if self.known().folder.is_none()
            && let Ok(folder) = snapshots::root(&self.node, &self.snapshotter).await
        {
            self.known().folder = folder;
        }
        futures::stream::iter(ids).for_each_concurrent(AT_ONCE, |id| self.measure_one(id)).await;
        let mut known = self.known();
        known.took = began.elapsed();
        known.layers.retain(|_, layer| layer.measured.elapsed() < FORGOTTEN);
    }

    async fn measure_one(&self, id: String) {
        let used = snapshots::usage(&self.node, &self.snapshotter, &id).await;
        let mut known = self.known();
        match used {
            Ok(Some(used)) => {
                let layer = Layer { measured: Instant::now(), at: time::now(), used };
                known.layers.insert(id, layer);
            }
            Ok(None) => _ = known.layers.remove(&id),
            Err(error) => {
                let error = berth_errors::chain(&error);
                tracing::debug!(id, error, "measure what a container has written");
            }
        }
    }
}
