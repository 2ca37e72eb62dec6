//! How much of processors is used, between two measurings.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Measured;

/// Two measurings are so far apart, in nanoseconds, or they say little.
const APART: i64 = 1_000_000_000;
/// One that is older than that is of another time.
const OLDEST: i64 = 120_000_000_000;
/// Who was not measured for so long is forgotten.
const FORGOTTEN: i64 = 600_000_000_000;

/// What was measured before.
#[derive(Default)]
pub(super) struct Rates(Mutex<HashMap<String, Known>>);

#[derive(Clone, Copy)]
struct Known {
    /// The last one that the next is held against.
    at: i64,
    cpu: u64,
    /// Nanoseconds of processors in a second.
    rate: Option<u64>,
}

impl Rates {
    /// Takes in what was measured now.
    pub(super) fn note(&self, measured: &HashMap<String, Measured>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, now) in measured {
            let next = known.get(id).map_or_else(|| Known::first(now), |before| before.then(now));
            known.insert(id.clone(), next);
        }
        let newest = measured.values().map(|measured| measured.at).max().unwrap_or_default();
        known.retain(|_, known| newest - known.at < FORGOTTEN);
    }

    /// The rate at the last measuring; nothing before there were two.
    pub(super) fn of(&self, id: &str) -> Option<u64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id)?.rate
    }
}

impl Known {
    fn first(now: &Measured) -> Self {
        Self { at: now.at, cpu: now.cpu, rate: None }
    }

    fn then(self, now: &Measured) -> Self {
        match now.at - self.at {
            passed if passed > OLDEST => Self::first(now),
            passed if passed < APART => self,
            passed => {
                // One that was started again has used less than before.
                let used = now.cpu.saturating_sub(self.cpu);
                let rate = u128::from(used) * 1_000_000_000 / u128::try_from(passed).unwrap_or(1);
                Self { at: now.at, cpu: now.cpu, rate: u64::try_from(rate).ok() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64, cpu: u64) -> HashMap<String, Measured> {
        let at = (seconds * 1e9) as i64;
        [("c".to_owned(), Measured::of_processor(at, cpu))].into()
    }

    #[test]
    fn a_rate_is_of_two_measurings_that_are_apart() {
        let rates = Rates::default();
        let note = |seconds, cpu| {
            rates.note(&at(seconds, cpu));
            rates.of("c")
        };
        assert_eq!(note(1000.0, 500), None);
        assert_eq!(note(1000.1, 600), None);
        assert_eq!(note(1002.0, 2_000_000_500), Some(1_000_000_000));
        assert_eq!(note(1002.1, 2_500_000_000), Some(1_000_000_000));
        assert_eq!(note(1003.0, 10), Some(0));
        assert_eq!(note(1300.0, 20), None);
    }
}
