//! What the snapshots of a snapshotter use.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use tokio::time::Instant;

use crate::Result;
use crate::peers::Node;
use crate::peers::snapshots::{self, Snapshot, Used};

/// How long a measurement counts, as with containerd.
const COUNTS: Duration = Duration::from_secs(10);
/// So many snapshots are measured at once.
const AT_ONCE: usize = 4;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Usage {
    /// When.
    pub at: SystemTime,
    /// The snapshotter's folder.
    pub folder: PathBuf,
    /// What all its snapshots use.
    pub used: Used,
}

/// Measures, and remembers.
#[derive(Debug, Default)]
pub struct Meter(tokio::sync::Mutex<Measured>);

#[derive(Debug, Default)]
struct Measured {
    last: Option<(Instant, Usage)>,
    /// By the snapshots' keys.
    known: HashMap<String, Known>,
}

/// What was found of a snapshot last.
#[derive(Debug)]
struct Known {
    used: Used,
    /// It changes no more.
    whole: bool,
}

impl Meter {
    /// The last measurement if it is recent; otherwise a new one, for which all wait who ask meanwhile. A snapshotter
    /// that tells of no folder has `other`. What was measured counts for the next when the caller leaves before all is;
    /// a snapshot that cannot be measured is as it was before, or nothing.
    ///
    /// # Errors
    /// [`crate::Error::Peer`].
    pub async fn measure(&self, node: &Node, snapshotter: &str, other: PathBuf) -> Result<Usage> {
        let mut measured = self.0.lock().await;
        if let Some((at, usage)) = &measured.last
            && at.elapsed() < COUNTS
        {
            return Ok(usage.clone());
        }
        let folder = snapshots::root(node, snapshotter).await?.unwrap_or(other);
        let all = snapshots::list(node, snapshotter).await?;
        let there: HashSet<_> = all.iter().map(|snapshot| snapshot.key.clone()).collect();
        measured.known.retain(|key, _| there.contains(key));
        let is_known = |snapshot: &Snapshot| {
            snapshot.committed && measured.known.get(&snapshot.key).is_some_and(|known| known.whole)
        };
        let asked: Vec<_> = all.into_iter().filter(|snapshot| !is_known(snapshot)).collect();
        let measuring = futures::stream::iter(asked).map(|snapshot| async move {
            let used = snapshots::usage(node, snapshotter, &snapshot.key).await;
            (snapshot, used)
        });
        let mut measuring = measuring.buffer_unordered(AT_ONCE);
        while let Some((snapshot, used)) = measuring.next().await {
            let Snapshot { key, committed } = snapshot;
            match used {
                Ok(used) => {
                    let known = Known { used: used.unwrap_or_default(), whole: committed };
                    measured.known.insert(key, known);
                }
                Err(error) => {
                    let error = berth_errors::chain(&error);
                    tracing::warn!(key, snapshotter, error, "measure a snapshot");
                }
            }
        }
        let mut used = Used::default();
        for Known { used: of, .. } in measured.known.values() {
            used.bytes = used.bytes.saturating_add(of.bytes);
            used.inodes = used.inodes.saturating_add(of.inodes);
        }
        let usage = Usage { at: SystemTime::now(), folder, used };
        measured.last = Some((Instant::now(), usage.clone()));
        Ok(usage)
    }
}
