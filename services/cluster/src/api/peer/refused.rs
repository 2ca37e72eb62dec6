//! Connections that were refused, told in few lines.
//!
//! Owns: how often they are told of. Whoever reaches the door is refused as often as it likes, and the log is for all of
//! the node. Must not know: why a connection is refused.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(5);

/// What was told, and what is yet to be told.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<Late>);

#[derive(Debug, Default)]
struct Late {
    /// Before that there is no further line.
    next: Option<Instant>,
    /// What it will say. Somebody waits for it.
    waits: Option<Line>,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Who was refused last.
    pub(super) from: SocketAddr,
    /// Why.
    pub(super) reason: String,
    /// So many others were since the line before.
    pub(super) more: u64,
}

impl Refused {
    /// One was refused. Answers what is to be told, if that is for this caller to do: at once, or with those that
    /// come until the pause is over, or `stop` ends it.
    pub(super) async fn line(
        &self,
        from: SocketAddr,
        reason: String,
        stop: &CancellationToken,
    ) -> Option<Line> {
        let until = {
            let mut late = self.late();
            let now = Instant::now();
            if let Some(waits) = &mut late.waits {
                *waits = Line { from, reason, more: waits.more + 1 };
                return None;
            }
            let line = Line { from, reason, more: 0 };
            let Some(next) = late.next.filter(|next| *next > now) else {
                late.next = Some(now + PAUSE);
                return Some(line);
            };
            late.waits = Some(line);
            next
        };
        stop.run_until_cancelled(sleep_until(until)).await;
        let mut late = self.late();
        late.next = Some(Instant::now() + PAUSE);
        late.waits.take()
    }

    fn late(&self) -> MutexGuard<'_, Late> {
        // Nothing that can panic stands between changes under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_the_others_with_the_last_of_them() {
        let (refused, stop) = (Refused::default(), CancellationToken::new());
        let line = |port: u16| refused.line(at(port), format!("{port}"), &stop);
        let told = |port: u16, more| Some(Line { from: at(port), reason: format!("{port}"), more });
        let began = Instant::now();
        let pauses = || began.elapsed().as_millis() / PAUSE.as_millis();
        assert_eq!(line(1).await, told(1, 0));
        assert_eq!(pauses(), 0);
        let lines = tokio::join!(line(2), line(3), line(4));
        assert_eq!(lines, (told(4, 2), None, None));
        assert_eq!(pauses(), 1);
        // That was a line, too.
        assert_eq!(line(5).await, told(5, 0));
        assert_eq!(pauses(), 2);
        tokio::time::sleep(PAUSE).await;
        assert_eq!(line(6).await, told(6, 0));
        assert_eq!(pauses(), 3);
        // The end is not held up, and nothing is left untold.
        stop.cancel();
        assert_eq!(line(7).await, told(7, 0));
        assert_eq!(pauses(), 3);
    }
}
