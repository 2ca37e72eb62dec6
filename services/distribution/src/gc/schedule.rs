//! When collections run by themselves, as containerd's scheduler has it: after the start, after what
//! asks for one, and no more than a share of the time.
//!
//! Owns: the turn of the next collection. Must not know: what a collection does.
//!
//! containerd looks again and again whether there is something to collect. Here nothing wakes while
//! nothing has happened: what asks for a collection waits for the turn that is due by then.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::collect::Collector;
use super::demand::{Demand, Wish};

/// What the first turns go by until collections have been measured, or if they are not to count.
const INTERVAL: Duration = Duration::from_secs(1);
/// The least that a collection counts for, so that quick ones do not follow each other at once.
const LEAST: Duration = Duration::from_millis(5);
/// The shortest and the longest pause between tries after a collection that was given up.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// As good as never; no clock overflows.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// When collections run.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the start to the first; 0: there is none for the start alone.
    pub startup_delay: Duration,
    /// From what asks for one at once to its begin.
    pub schedule_delay: Duration,
    /// The share of the time that collections may take, if they come in turn; 0: they do not count.
    pub pause_threshold: f64,
    /// The most that one may take.
    pub deadline: Duration,
}

/// How long collections have taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    busy: Duration,
    count: u32,
    /// When the last one ended.
    last: Option<Instant>,
}

impl Load {
    /// Counts a collection that has just ended.
    pub fn add(&mut self, busy: Duration) {
        self.busy += busy;
        self.count = self.count.saturating_add(1);
        self.last = Some(Instant::now());
    }

    /// When the next one has its turn.
    fn turn(&self, share: f64) -> Instant {
        let Some(last) = self.last else { return Instant::now() };
        last + self.interval(share)
    }

    fn interval(&self, share: f64) -> Duration {
        if share <= 0.0 || self.count == 0 {
            return INTERVAL;
        }
        let average = (self.busy / self.count).max(LEAST);
        let seconds = average.as_secs_f64() * (1.0 / share - 1.0);
        Duration::try_from_secs_f64(seconds).unwrap_or(NEVER).min(NEVER)
    }
}

/// Runs collections as they are asked for, until cancelled.
pub async fn run(collector: Collector, token: CancellationToken) {
    let work = async {
        let (demand, pace) = (collector.demand(), collector.pace());
        if pace.startup_delay > Duration::ZERO {
            // Until then only what asks for one at once is heard.
            let asked = timeout(pace.startup_delay, demand.wished(Wish::Now)).await;
            if asked.is_ok() {
                sleep(pace.schedule_delay).await;
            }
            until_done(&collector).await;
        }
        loop {
            await_turn(&collector, demand, &pace).await;
            until_done(&collector).await;
        }
    };
    token.run_until_cancelled(work).await;
}

/// Waits until a collection is asked for, and then for its turn, or for less if it is asked for at
/// once.
async fn await_turn(collector: &Collector, demand: &Demand, pace: &Pace) {
    while demand.wished(Wish::InTurn).await == Wish::InTurn {
        let turn = collector.load().turn(pace.pause_threshold);
        if timeout_at(turn, demand.wished(Wish::Now)).await.is_ok() {
            break;
        }
        // Otherwise somebody has collected meanwhile.
        if demand.asks() {
            return;
        }
    }
    sleep(pace.schedule_delay).await;
}

/// Tries until a collection comes to its end. Deletions that ask for one at once cut a long pause
/// short.
async fn until_done(collector: &Collector) {
    let (demand, mut pause) = (collector.demand(), SHORTEST_PAUSE);
    loop {
        match collector.collect().await {
            Ok(stats) => {
                tracing::debug!(?stats, "collected");
                return;
            }
            Err(error) => {
                tracing::info!(error = berth_errors::chain(&error), next = ?pause, "collection given up");
                let known = demand.known();
                sleep(SHORTEST_PAUSE).await;
                let longer = pause.saturating_sub(SHORTEST_PAUSE);
                // Not for those that the collection that was given up had been asked for by.
                let _ = timeout(longer, demand.wished_anew(known)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_leave_collections_their_share_of_the_time() {
        let mut load = Load::default();
        assert_eq!(load.interval(0.02), INTERVAL);
        load.add(Duration::from_millis(1));
        assert_eq!(load.interval(0.02), Duration::from_millis(245), "quick ones count for 5 ms");
        load.add(Duration::from_millis(39));
        assert_eq!(load.interval(0.5), Duration::from_millis(20), "20 ms on the average");
        assert_eq!(load.interval(0.0), INTERVAL);
        assert_eq!(load.interval(f64::MIN_POSITIVE), NEVER);
    }
}
