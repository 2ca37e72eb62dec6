//! Whether a process can do its work: what its parts say of themselves when somebody asks.
//!
//! One set of checks for the process, as there is one log: whoever has something that may fail
//! registers it here once, and whoever tells of the process need not know it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

/// How long all checks may take. Less than whoever asks a service waits.
const PATIENCE: Duration = Duration::from_millis(1500);

type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Check = Arc<dyn Fn() -> Answer + Send + Sync>;

#[derive(Default)]
struct Checks(Mutex<BTreeMap<&'static str, Check>>);

static CHECKS: Checks = Checks(Mutex::new(BTreeMap::new()));

/// Registers a check, which answers why the process cannot do its work, in words that name what it is
/// about. Of a name the last one stands: a process has one of each.
pub fn check<F, E>(name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static)
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display,
{
    CHECKS.put(name, ask);
}

/// Why the process cannot do its work: a line for each reason, none while it can.
pub async fn hindrances() -> Vec<String> {
    CHECKS.hindrances().await
}

impl Checks {
    fn put<F, E>(&self, name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let check: Check = Arc::new(move || -> Answer {
            let asked = ask();
            Box::pin(async move { asked.await.map_err(|error| error.to_string()) })
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, check);
    }

    async fn hindrances(&self) -> Vec<String> {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let deadline = Instant::now() + PATIENCE;
        // All at once: one that hangs takes no time from the others.
        let asked = checks.into_iter().map(async |(name, check)| {
            match timeout_at(deadline, check()).await {
                Ok(Ok(())) => None,
                // One line, whatever is in it.
                Ok(Err(reason)) => Some(reason.replace('\n', " ")),
                Err(_) => Some(format!("{name} did not say within {PATIENCE:?}")),
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}
