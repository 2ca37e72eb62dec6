//! Waiting for a state of a test, with a deadline.

use std::time::Duration;

/// How long anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `check` holds.
pub async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "{what}: not so after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The same of something that ends by itself.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not so after {PATIENCE:?}"),
    }
}
