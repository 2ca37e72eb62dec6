//! Letting memory go when the process comes to rest.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Without work for so long, a process is at rest.
const QUIET: Duration = Duration::from_secs(10);

static WORKED: Notify = Notify::const_new();

/// Says that work was done which may have left memory behind. Costs next to nothing.
pub fn worked() {
    WORKED.notify_one();
}

/// Lets memory go once the process has started, and again each time it comes to rest. Does not
/// end, and does not wake a process at rest.
pub(crate) async fn rest() {
    loop {
        sleep(QUIET).await;
        if timeout(Duration::ZERO, WORKED.notified()).await.is_ok() {
            continue;
        }
        berth_memory::settle();
        WORKED.notified().await;
    }
}
