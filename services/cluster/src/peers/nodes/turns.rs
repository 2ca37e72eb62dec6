//! How many nodes are asked at once. A turn ends with its answer, or with its time: an answer that nobody reads
//! keeps nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Those that are there.
#[derive(Debug)]
pub(super) struct Turns {
    most: usize,
    taken: Mutex<Taken>,
}

/// Each with its end.
#[derive(Debug, Default)]
struct Taken {
    newest: u64,
    ends: BTreeMap<u64, Instant>,
}

/// One that was taken.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    number: u64,
}

impl Turns {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// A turn until then, if one is free.
    pub(super) fn take(self: &Arc<Self>, until: Instant) -> Option<Turn> {
        let now = Instant::now();
        let mut taken = self.taken();
        taken.ends.retain(|_, end| *end > now);
        if taken.ends.len() >= self.most {
            return None;
        }
        taken.newest += 1;
        let number = taken.newest;
        taken.ends.insert(number, until);
        Some(Turn { turns: Arc::clone(self), number })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.taken().ends.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_with_its_owner_or_its_time() {
        let turns = Turns::new(2);
        let until = Instant::now() + Duration::from_secs(30);
        let (first, kept) = (turns.take(until), turns.take(until));
        assert!(first.is_some() && kept.is_some() && turns.take(until).is_none());
        drop(first);
        let second = turns.take(until);
        assert!(second.is_some() && turns.take(until).is_none());
        tokio::time::advance(Duration::from_secs(31)).await;
        let until = Instant::now() + Duration::from_secs(30);
        let later = [turns.take(until), turns.take(until)];
        assert!(later.iter().all(Option::is_some));
        // Those whose time is over free nobody else's.
        drop((second, kept));
        assert!(turns.take(until).is_none());
    }
}
