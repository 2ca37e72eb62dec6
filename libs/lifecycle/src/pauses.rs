//! How long to wait before something is tried again: twice as long each time, up to a bound.

use std::time::Duration;

/// Before what failed is tried for the second time. A disk that has room again says so to nobody.
const SHORTEST: Duration = Duration::from_secs(1);

/// The pauses of one thing that is tried again until it works.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// The first and the longest.
    #[must_use]
    pub const fn new([next, longest]: [Duration; 2]) -> Self {
        Self { next, longest }
    }

    /// From a second on, up to this.
    #[must_use]
    pub const fn up_to(longest: Duration) -> Self {
        Self::new([SHORTEST, longest])
    }

    /// The pause that [`Pauses::wait`] makes next.
    #[must_use]
    pub const fn next(&self) -> Duration {
        self.next
    }

    /// Makes a pause.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = self.longest.min(self.next * 2);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest() {
        let mut pauses = Pauses::up_to(Duration::from_secs(5));
        let mut made = Vec::new();
        for _ in 0..5 {
            let (begun, next) = (Instant::now(), pauses.next());
            pauses.wait().await;
            assert!(begun.elapsed().abs_diff(next) < Duration::from_millis(10));
            made.push(next.as_secs());
        }
        assert_eq!(made, [1, 2, 4, 5, 5]);
    }
}
