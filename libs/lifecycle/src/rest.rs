//! Letting memory go when the process comes to rest.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

/// When the start is over.
const STARTED: Duration = Duration::from_secs(10);
/// How often it is looked afterwards.
const LOOK: Duration = Duration::from_secs(20);
/// A process that used less than this between two looks is at rest.
const AT_REST: Duration = Duration::from_millis(400);
/// Having used less than this since it last let go, it has nothing to let go.
const WORTHWHILE: Duration = Duration::from_millis(5);

/// Lets memory go once the process has started, and again each time it comes to rest after work.
/// Does not end.
pub(crate) async fn rest() {
    sleep(STARTED).await;
    berth_memory::settle();
    let mut settled = used();
    let mut before = settled;
    loop {
        sleep(LOOK).await;
        let now = used();
        if now.saturating_sub(before) < AT_REST && now.saturating_sub(settled) > WORTHWHILE {
            berth_memory::settle();
            settled = used();
        }
        before = now;
    }
}

/// The processor time that this process has used.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
