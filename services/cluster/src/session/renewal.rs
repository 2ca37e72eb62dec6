//! Keeping the lease alive.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Error;
use crate::peers::etcd::Etcd;

/// The longest pause after a renewal that failed.
const LONGEST: Duration = Duration::from_secs(1);
/// The shortest.
const SHORTEST: Duration = Duration::from_millis(50);

/// Keeps a lease alive, a third of its time between two renewals. Returns why it could not any longer: it is
/// gone, or was not renewed within its time.
///
/// It is `good` for so long. A process that was stopped, or a machine that slept, learns from etcd whether the
/// lease is there: no clock of ours decides that.
///
/// The first renewal is made at once. Each is `told`: what it failed of, or that it was made. Etcd answers one when
/// it has done all that it was told before, so it says also whether etcd keeps up.
pub async fn renew(
    etcd: &Etcd,
    lease: i64,
    good: Duration,
    told: impl Fn(Option<&Error>),
) -> Error {
    let mut since = Instant::now();
    loop {
        let asked = Instant::now();
        // Two thirds of its time are left when a renewal is due: another member is to be asked within that.
        let pause = match etcd.renew(lease, good * 2 / 3).await {
            Ok(()) => {
                since = asked;
                told(None);
                good / 3
            }
            Err(error @ Error::LeaseGone(_)) => return error,
            Err(error) if since.elapsed() >= good => return error,
            Err(error) => {
                told(Some(&error));
                (good / 10).clamp(SHORTEST, LONGEST)
            }
        };
        sleep(pause).await;
    }
}
