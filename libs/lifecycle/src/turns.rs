//! How many do something at once, which can be changed meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns that are given out one after another. Clones share them.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    bound: Mutex<Bound>,
}

#[derive(Debug)]
struct Bound {
    at_once: usize,
    /// Turns that are taken beyond the bound: they do not come back.
    beyond: usize,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    held: Option<OwnedSemaphorePermit>,
    of: Arc<Shared>,
}

impl Turns {
    /// So many at once.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        let at_once = at_once.min(Semaphore::MAX_PERMITS);
        let bound = Mutex::new(Bound { at_once, beyond: 0 });
        Self(Arc::new(Shared { free: Arc::new(Semaphore::new(at_once)), bound }))
    }

    /// So many at once from now on. Nobody who has a turn loses it: where there are too many, the next
    /// is given out when enough have ended.
    pub fn set(&self, at_once: usize) {
        let at_once = at_once.min(Semaphore::MAX_PERMITS);
        let mut bound = self.0.bound();
        if let Some(fewer) = bound.at_once.checked_sub(at_once) {
            bound.beyond += fewer - self.0.free.forget_permits(fewer);
        } else {
            let more = at_once - bound.at_once;
            let kept = more.min(bound.beyond);
            bound.beyond -= kept;
            self.0.free.add_permits(more - kept);
        }
        bound.at_once = at_once;
    }

    /// How many can be taken without waiting, where there is a bound.
    #[must_use]
    pub fn free(&self) -> Option<usize> {
        Some(self.0.free.available_permits()).filter(|free| *free < Semaphore::MAX_PERMITS / 2)
    }

    /// Waits for one.
    pub async fn take(&self) -> Turn {
        // Nobody closes it.
        let held = Arc::clone(&self.0.free).acquire_owned().await.ok();
        Turn { held, of: Arc::clone(&self.0) }
    }
}

impl Default for Turns {
    /// As many as are wanted.
    fn default() -> Self {
        Self::new(Semaphore::MAX_PERMITS)
    }
}

impl Shared {
    fn bound(&self) -> MutexGuard<'_, Bound> {
        // Two numbers, of which nothing is done in between that could panic.
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut bound = self.of.bound();
        let held = self.held.take();
        if bound.beyond > 0 {
            bound.beyond -= 1;
            held.into_iter().for_each(OwnedSemaphorePermit::forget);
        }
        // Else it goes back while nobody can change the bound.
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn now<T>(taking: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match taking.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => Some(taken),
            Poll::Pending => None,
        }
    }

    fn take(turns: &Turns) -> Option<Turn> {
        now(pin!(turns.take()))
    }

    #[test]
    fn fewer_turns_count_as_those_that_are_taken_end() {
        let turns = Turns::new(3);
        let mut taken: Vec<_> = (0..3).map(|_| take(&turns).unwrap()).collect();
        turns.set(1);
        for _ in 0..2 {
            taken.pop();
            assert!(take(&turns).is_none(), "{} are held", taken.len());
        }
        taken.pop();
        let last = take(&turns).unwrap();
        assert!(take(&turns).is_none());
        drop(last);
        assert_eq!(turns.free(), Some(1));
    }

    #[test]
    fn more_turns_count_at_once_also_before_fewer_did() {
        let turns = Turns::new(3);
        let taken: Vec<_> = (0..3).map(|_| take(&turns).unwrap()).collect();
        turns.set(1);
        turns.set(4);
        let fourth = take(&turns).unwrap();
        assert!(take(&turns).is_none());
        drop((taken, fourth));
        assert_eq!(turns.free(), Some(4));
        turns.set(2);
        assert_eq!(turns.free(), Some(2));
    }

    #[test]
    fn who_waits_gets_a_turn_of_a_larger_bound() {
        let turns = Turns::new(1);
        let _taken = take(&turns).unwrap();
        let mut waiting = pin!(turns.take());
        assert!(now(waiting.as_mut()).is_none());
        turns.set(2);
        assert!(now(waiting).is_some());
    }

    #[test]
    fn without_a_bound_one_can_come_later() {
        let turns = Turns::default();
        let taken = take(&turns).unwrap();
        assert_eq!(turns.free(), None);
        turns.set(1);
        assert!(take(&turns).is_none());
        drop(taken);
        assert_eq!(turns.free(), Some(1));
    }
}
