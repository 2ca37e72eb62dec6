//! Waiting for something to become true, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `check` until it is true; fails after `deadline` naming `what`.
///
/// For states that nothing announces (a process has gone, a port answers). What can be waited for
/// by a call or an event is.
///
/// # Errors
/// When the deadline passes.
pub fn until(what: &str, deadline: Duration, mut check: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !check() {
        if start.elapsed() > deadline {
            bail!("{what}: not so after {deadline:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
