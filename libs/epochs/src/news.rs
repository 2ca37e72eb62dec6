//! What a service has to tell whoever collects: how much it has changed since it told last.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// So many changes are worth telling of by themselves; a deletion always is.
const WORTH: u64 = 32;
/// Between two tries to tell.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts until they are told.
#[derive(Debug, Default)]
pub struct News {
    counts: Mutex<Counts>,
    wake: Notify,
}

/// How much was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were written, deletions among them.
    pub changes: u64,
    /// Records that were deleted.
    pub deletions: u64,
}

impl News {
    /// Something was made or changed.
    pub fn changed(&self) {
        self.add(Counts { changes: 1, deletions: 0 });
    }

    /// Something was deleted, and not by a collection.
    pub fn deleted(&self) {
        self.add(Counts { changes: 1, deletions: 1 });
    }

    /// A collection is wished for, as after a deletion.
    pub fn ask(&self) {
        self.add(Counts { changes: 0, deletions: 1 });
    }

    /// Counts what happened, or what could not be told.
    pub fn add(&self, more: Counts) {
        let worth = {
            let mut counts = self.lock();
            counts.changes += more.changes;
            counts.deletions += more.deletions;
            is_worth(*counts)
        };
        if worth {
            self.wake.notify_one();
        }
    }

    /// Waits until there is something worth telling, and takes it.
    pub async fn next(&self) -> Counts {
        loop {
            {
                let mut counts = self.lock();
                if is_worth(*counts) {
                    return std::mem::take(&mut counts);
                }
            }
            self.wake.notified().await;
        }
    }

    /// Tells what is worth it by `send`, for ever. What that could not tell, and answers so, is told
    /// again after a pause, with what has come since.
    pub async fn tell<F: Future<Output = bool>>(&self, send: impl Fn(Counts) -> F) {
        loop {
            let counts = self.next().await;
            if !send(counts).await {
                tokio::time::sleep(PAUSE).await;
                self.add(counts);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_worth(counts: Counts) -> bool {
    counts.deletions > 0 || counts.changes >= WORTH
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_deletion_is_told_and_changes_once_they_are_many() {
        let news = News::default();
        for _ in 1..WORTH {
            news.changed();
        }
        assert_eq!(news.next().now_or_never(), None);
        news.changed();
        let told = Counts { changes: WORTH, deletions: 0 };
        assert_eq!(news.next().now_or_never(), Some(told));
        let mut waiting = Box::pin(news.next());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        news.deleted();
        assert_eq!(waiting.now_or_never(), Some(Counts { changes: 1, deletions: 1 }));
        assert_eq!(news.next().now_or_never(), None);
        news.add(told);
        assert_eq!(news.next().now_or_never(), Some(told), "it could not be told");
        news.ask();
        assert_eq!(news.next().now_or_never(), Some(Counts { changes: 0, deletions: 1 }));
    }
}
