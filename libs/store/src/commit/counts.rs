//! What the store of a process counts: commits, and the flushes that make them durable.

use std::sync::Once;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use berth_metrics::{Names, Samples, Times};

/// How long the writes and the flush of a group took.
pub(super) static FLUSHES: Times = Times::new();
/// Commits whose closure answered well and that are on disk.
pub(super) static KEPT: AtomicU64 = AtomicU64::new(0);
/// Those whose closure refused.
pub(super) static REFUSED: AtomicU64 = AtomicU64::new(0);
/// Those that could not be written or flushed.
pub(super) static FAILED: AtomicU64 = AtomicU64::new(0);
static WAITING: AtomicI64 = AtomicI64::new(0);

/// A commit that was asked for, until it is answered or nobody wants it any more.
pub(super) struct Waiting(());

impl Waiting {
    pub(super) fn begin() -> Self {
        WAITING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has it told with the metrics of the process, which has one store.
pub(super) fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| berth_metrics::counted(Names::Ours, "store", tell));
}

fn tell(samples: &mut Samples) {
    let help = "Commits by outcome: kept on disk, refused by what they found, failed to be written";
    let mut commits = samples.counter("berth_store_commits_total", help);
    for (outcome, count) in [("kept", &KEPT), ("refused", &REFUSED), ("failed", &FAILED)] {
        commits.sample(&[("outcome", outcome)], count.load(Ordering::Relaxed));
    }
    let help = "How long it took to write a group of commits and flush it to disk";
    samples.times("berth_store_flush_seconds", help).histogram(&[], &FLUSHES);
    let help = "Commits that were asked for and are not answered";
    samples.gauge("berth_store_commits_waiting", help).sample(&[], WAITING.load(Ordering::Relaxed));
}
