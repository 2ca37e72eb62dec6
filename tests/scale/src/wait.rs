//! Waiting for what is to become so.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// Waits until `is` so.
///
/// # Errors
/// When it is not within `patience`.
pub async fn until(patience: Duration, mut is: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !is() {
        if start.elapsed() > patience {
            bail!("not so after {patience:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
