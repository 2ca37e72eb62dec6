//! How often collections may run, and how long they have taken.

use std::time::Duration;

use tokio::time::Instant;

/// What the first turns go by until collections have been measured, or if they are not to count.
const INTERVAL: Duration = Duration::from_secs(1);
/// The least that a collection counts for, so that quick ones do not follow each other at once.
const LEAST: Duration = Duration::from_millis(5);
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

impl Pace {
    pub(crate) fn of(gc: &berth_config::Gc) -> Self {
        Self {
            startup_delay: gc.startup_delay.0,
            schedule_delay: gc.schedule_delay.0,
            pause_threshold: gc.pause_threshold,
            deadline: gc.deadline.0,
        }
    }
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
    #[must_use]
    pub fn turn(&self, share: f64) -> Instant {
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
