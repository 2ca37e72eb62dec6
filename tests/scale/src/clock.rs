//! A clock that the processes of a machine have in common.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds that only grow; alike in all processes.
#[must_use]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanos
}
