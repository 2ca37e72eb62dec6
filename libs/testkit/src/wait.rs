//! Waiting for something to become true, with a deadline.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

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

/// Waits for the end of a process of the test's own, which something else brings about.
///
/// # Errors
/// When the deadline passes.
pub fn ended(what: &str, child: &mut Child, deadline: Duration) -> Result<ExitStatus> {
    let mut status = None;
    until(&format!("{what} ends"), deadline, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    })?;
    status.with_context(|| format!("{what} has ended without a status"))
}
