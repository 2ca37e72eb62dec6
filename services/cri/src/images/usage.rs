//! What the snapshots of a snapshotter use.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::Result;
use crate::peers::Node;
use crate::peers::snapshots::{self, Used};

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
    /// Of snapshots that change no more.
    committed: HashMap<String, Used>,
}

impl Meter {
    /// The last measurement if it is recent; otherwise a new one, for which all wait who ask meanwhile. A snapshotter
    /// that tells of no folder has `other`.
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
        let mut before = std::mem::take(&mut measured.committed);
        let all = snapshots::list(node, snapshotter).await?;
        let known = all.into_iter().map(|snapshot| {
            let known = before.remove(&snapshot.key).filter(|_| snapshot.committed);
            (snapshot, known)
        });
        let known: Vec<_> = known.collect();
        let measuring = futures::stream::iter(known).map(|(snapshot, known)| async move {
            let used = match known {
                Some(used) => Some(used),
                None => snapshots::usage(node, snapshotter, &snapshot.key).await?,
            };
            Ok::<_, crate::Error>((snapshot, used.unwrap_or_default()))
        });
        let found: Vec<_> = measuring.buffer_unordered(AT_ONCE).try_collect().await?;
        let mut used = Used::default();
        for (snapshot, of) in found {
            used.bytes = used.bytes.saturating_add(of.bytes);
            used.inodes = used.inodes.saturating_add(of.inodes);
            if snapshot.committed {
                measured.committed.insert(snapshot.key, of);
            }
        }
        let usage = Usage { at: SystemTime::now(), folder, used };
        measured.last = Some((Instant::now(), usage.clone()));
        Ok(usage)
    }
}
