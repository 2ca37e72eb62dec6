//! How much of processors is used, between two measurings.
//!
//! Nothing is measured for it alone. What is used of processors is a sum, so that the rate between two questions is as
//! exact as one between samples of one's own, and is of the time that who asks did not know yet. Before the first question
//! something else is known: one that was started by this service had used nothing then, and those that it found are measured
//! once when it begins. So whoever asks once, a second after a start, is told a rate.
//!
//! What that saves: a list of 100 containers costs some 80 ms of processors (debug programs; 55 of them in shims), and a sample of all
//! of them each second would cost the same, whether somebody asks or not. A kubelet asks each ten seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Measured;

/// Two measurings are so far apart, in nanoseconds, or they say little.
const APART: i64 = 1_000_000_000;

/// What was measured before.
#[derive(Default)]
pub(super) struct Rates(Mutex<HashMap<String, Known>>);

/// Since when something uses processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// Nanoseconds since 1970: it had used nothing then.
    At(i64),
    /// Nobody knows.
    Unknown,
    /// It is there no more.
    Gone,
}

#[derive(Clone, Copy)]
struct Known {
    /// The last one that the next is held against.
    at: i64,
    cpu: u64,
    /// Nanoseconds of processors in a second.
    rate: Option<u64>,
}

impl Rates {
    /// Takes in what was measured now, and forgets what is gone.
    pub(super) fn note<'m>(
        &self,
        measured: impl IntoIterator<Item = (&'m str, &'m Measured)>,
        since: impl Fn(&str) -> Since,
    ) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, now) in measured {
            let before = known.get(id).copied().or_else(|| match since(id) {
                Since::At(at) => Some(Known { at, cpu: 0, rate: None }),
                Since::Unknown | Since::Gone => None,
            });
            let first = Known { at: now.at, cpu: now.cpu, rate: None };
            known.insert(id.to_owned(), before.map_or(first, |before| before.then(now)));
        }
        known.retain(|id, _| since(id) != Since::Gone);
    }

    /// The rate at the last measuring; nothing before there were two.
    pub(super) fn of(&self, id: &str) -> Option<u64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id)?.rate
    }
}

impl Known {
    fn then(self, now: &Measured) -> Self {
        let passed = now.at.saturating_sub(self.at);
        match u128::try_from(passed) {
            // The clock was set back: what comes next is held against this.
            Err(_) => Self { at: now.at, cpu: now.cpu, ..self },
            Ok(_) if passed < APART => self,
            Ok(nanoseconds) => {
                // A group that was made anew has used less than before.
                let used = now.cpu.saturating_sub(self.cpu);
                let rate = u128::from(used) * 1_000_000_000 / nanoseconds;
                Self { at: now.at, cpu: now.cpu, rate: u64::try_from(rate).ok() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn noted(rates: &Rates, seconds: f64, cpu: u64, since: Since) -> Option<u64> {
        let measured = Measured::of_processor((seconds * 1e9) as i64, cpu);
        rates.note([("c", &measured)], |_| since);
        rates.of("c")
    }

    #[test]
    fn a_rate_is_of_two_measurings_that_are_apart() {
        let rates = Rates::default();
        let note = |seconds, cpu| noted(&rates, seconds, cpu, Since::Unknown);
        assert_eq!(note(1000.0, 500), None);
        assert_eq!(note(1000.1, 600), None);
        assert_eq!(note(1002.0, 2_000_000_500), Some(1_000_000_000));
        assert_eq!(note(1002.1, 2_500_000_000), Some(1_000_000_000));
        assert_eq!(note(1003.0, 10), Some(0));
        assert_eq!(note(1005.0, 1_000_000_010), Some(500_000_000));
        // The clock goes back: the rate is as it was, until there are two again.
        assert_eq!(note(10.0, 2_000_000_010), Some(500_000_000));
        assert_eq!(note(12.0, 2_000_000_010), Some(0));
    }

    #[test]
    fn the_first_measuring_is_held_against_the_start() {
        let (rates, since) = (Rates::default(), Since::At(1000 * SECOND));
        assert_eq!(noted(&rates, 1000.5, 500_000_000, since), None);
        assert_eq!(noted(&rates, 1002.0, 500_000_000, since), Some(250_000_000));
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let (rates, since) = (Rates::default(), Since::At(1000 * SECOND));
        assert_eq!(noted(&rates, 1002.0, 2_000_000_000, since), Some(1_000_000_000));
        assert_eq!(noted(&rates, 1004.0, 2_000_000_000, Since::Gone), None);
        assert!(rates.0.lock().unwrap().is_empty());
    }
}
