//! The job that undoes what is to go: containers' records that were deleted, and what could not be undone before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_errors::chain;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::{Key, Networks};
use crate::error::{Error, Result};
use crate::records::{Attachment, Standing};

/// Until something is tried again: at first, and at the most.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];
/// Where nothing is to be done it is looked anyway, after so long.
const IDLE: Duration = Duration::from_secs(3600);

/// When something is tried again, and how long after that.
struct Wait {
    due: Instant,
    next: Duration,
}

impl Wait {
    fn first() -> Self {
        Self { due: Instant::now() + WAITS[0], next: 2 * WAITS[0] }
    }

    fn longer(&mut self) {
        self.due = Instant::now() + self.next;
        self.next = WAITS[1].min(2 * self.next);
    }
}

impl Networks {
    pub(super) fn follow_departures(&self) {
        let (this, stop) = (self.clone(), self.0.jobs.token());
        drop(self.0.jobs.spawn("network-departures", async move {
            stop.run_until_cancelled(this.depart()).await
        }));
    }

    async fn depart(&self) {
        let mut waits: BTreeMap<Key, Wait> = BTreeMap::new();
        let mut under_way = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        loop {
            let leaving = self.leaving().unwrap_or_else(|error| {
                tracing::error!(error = chain(&error), "look for what is to be detached");
                Vec::new()
            });
            waits.retain(|key, _| leaving.iter().any(|(leaves, _)| leaves == key));
            let now = Instant::now();
            for (key, was_tried) in leaving {
                if was_tried && !under_way.contains(&key) {
                    waits.entry(key.clone()).or_insert_with(Wait::first);
                }
                let is_due = waits.get(&key).is_none_or(|wait| wait.due <= now);
                if is_due && under_way.insert(key.clone()) {
                    running.push(self.depart_one(key));
                }
            }
            let waiting = waits.iter().filter(|(key, _)| !under_way.contains(*key));
            let next = waiting.map(|(_, wait)| wait.due).min().unwrap_or(now + IDLE);
            tokio::select! {
                () = self.0.departures.notified() => {}
                Some((key, done)) = running.next() => {
                    under_way.remove(&key);
                    match done {
                        Ok(()) => drop(waits.remove(&key)),
                        Err(error) => {
                            let error: Error = error;
                            let (ns, id) = &key;
                            let error = chain(&error);
                            tracing::warn!(namespace = ns, id, error, "detach, again later");
                            waits.entry(key).or_insert_with(Wait::first).longer();
                        }
                    }
                }
                () = sleep_until(next) => {}
            }
        }
    }

    async fn depart_one(&self, key: Key) -> (Key, Result<()>) {
        let done = self.finish_leaving(&key).await;
        (key, done)
    }

    /// What is to go, and whether that failed before.
    fn leaving(&self) -> Result<Vec<(Key, bool)>> {
        let mut leaving = self.every()?;
        leaving.retain(|_, record| record.standing == Standing::Leaving);
        let tried = |(key, record): (Key, Attachment)| (key, !record.trouble.is_empty());
        Ok(leaving.into_iter().map(tried).collect())
    }
}
