//! How long runc may take for a call: less than who called waits, who is still there then to be told what
//! did not end, once that was killed and cleaned up after.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// One of so many parts of a caller's time is kept for an end by force.
const PARTS: u32 = 4;
/// The most that is kept for it.
const KEPT: Duration = Duration::from_secs(30);
/// What a program has in any case, whatever waited before it.
const LEAST: Duration = Duration::from_secs(1);

tokio::task_local! {
    static UNTIL: Option<Instant>;
}

/// Until when the programs of a call may run whose caller waits so long, if that has an end.
pub(crate) fn until(timeout: Option<Duration>) -> Option<Instant> {
    let time = timeout?;
    Instant::now().checked_add(time - (time / PARTS).min(KEPT))
}

/// That of the call for which this is asked.
pub(crate) fn current() -> Option<Instant> {
    UNTIL.try_with(|until| *until).ok().flatten()
}

/// Does the work of a call whose programs may run until then.
pub(crate) async fn of<F: Future>(until: Option<Instant>, work: F) -> F::Output {
    UNTIL.scope(until, work).await
}

/// How long a program may take that otherwise might take `own`.
pub(crate) fn within(own: Duration) -> Duration {
    let left = |until: Instant| until.saturating_duration_since(Instant::now()).max(LEAST);
    current().map_or(own, |until| own.min(left(until)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_longer_than_the_program() {
        let own = Duration::from_secs(100);
        for (timeout, expected) in [(20, 15), (120, 90), (600, 100), (1, 1)] {
            let until = until(Some(Duration::from_secs(timeout)));
            assert_eq!(of(until, async { within(own) }).await, Duration::from_secs(expected));
        }
        assert_eq!(until(None), None);
        assert_eq!(within(own), own);
    }
}
