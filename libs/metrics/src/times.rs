//! Counting how long things take, without a lock and without memory of its own.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::SECONDS;

/// How often something took how long. Made as a static or as part of one.
#[derive(Debug, Default)]
pub struct Times {
    /// How many took no longer than each of [`SECONDS`] and longer than the one before.
    counts: [AtomicU64; SECONDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Times {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; SECONDS.len() + 1],
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Something took so long.
    pub fn count(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Upper bounds and how many lie between the one before and them; the last has none.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Bound, u64)> {
        let bounds = SECONDS.iter().copied().map(Some).chain([None]).map(Bound);
        bounds.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(crate) fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    /// How often something took any time.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An upper bound in seconds, as Prometheus writes it.
pub(crate) struct Bound(Option<f64>);

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(seconds) => seconds.fmt(f),
            None => f.write_str("+Inf"),
        }
    }
}

/// How long something that may fail takes, by how it ends, and how often it is under way.
#[derive(Debug, Default)]
pub struct Work {
    done: Times,
    failed: Times,
    left: Times,
    under_way: AtomicI64,
}

impl Work {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        let under_way = AtomicI64::new(0);
        Self { done: Times::new(), failed: Times::new(), left: Times::new(), under_way }
    }

    /// Counts `work`, from its first poll to its end, or until nobody waits for it any more.
    pub async fn of<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let running = self.begin();
        let ended = work.await;
        running.end(ended.is_ok());
        ended
    }

    /// Begins; what is dropped without an end was left by whoever wanted it.
    pub fn begin(&self) -> Running<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Running { work: self, began: Instant::now(), times: &self.left }
    }

    /// How many are under way.
    pub fn under_way(&self) -> i64 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// By how they ended. What never happened is left out, but for success.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, &Times)> {
        let outcomes = [("ok", &self.done), ("failed", &self.failed), ("cancelled", &self.left)];
        outcomes.into_iter().filter(|(outcome, times)| *outcome == "ok" || !times.is_empty())
    }
}

/// One that is under way.
#[derive(Debug)]
pub struct Running<'w> {
    work: &'w Work,
    began: Instant,
    times: &'w Times,
}

impl Running<'_> {
    /// It has ended, well or not.
    pub fn end(mut self, well: bool) {
        self.times = if well { &self.work.done } else { &self.work.failed };
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.work.under_way.fetch_sub(1, Ordering::Relaxed);
        self.times.count(self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(work: &Work) -> Vec<(&'static str, u64)> {
        let count = |times: &Times| times.buckets().map(|(_, count)| count).sum();
        work.outcomes().map(|(outcome, times)| (outcome, count(times))).collect()
    }

    #[tokio::test]
    async fn each_end_is_counted_once_and_what_is_under_way_is_no_end() {
        let work = Work::new();
        assert_eq!(told(&work), [("ok", 0)]);
        let running = work.begin();
        assert_eq!((work.under_way(), told(&work)), (1, vec![("ok", 0)]));
        drop(running);
        assert_eq!(work.of(async { Ok::<_, ()>(7) }).await, Ok(7));
        assert_eq!(work.of(async { Err::<(), _>(8) }).await, Err(8));
        // Never polled: it has not begun.
        drop(work.of(std::future::pending::<Result<(), ()>>()));
        assert_eq!(told(&work), [("ok", 1), ("failed", 1), ("cancelled", 1)]);
        assert_eq!(work.under_way(), 0);
    }
}
