//! Removing at a backend what no snapshot stands for any more.
//!
//! What is ours is known by its row; nothing else is looked at. A backend that does not answer, or
//! has children on something still, is asked again after a while.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use berth_errors::{Code, Coded, chain};
use berth_ids::Namespace;
use berth_lifecycle::Tasks;

use super::rows::{MADE, Made};
use super::{Proxied, lock};
use crate::Error;
use crate::snapshots::Snapshots;

/// For so long may a backend carry out a call after its deadline. What it is about is looked for
/// that long before it is forgotten.
const DOUBT: Duration = Duration::from_secs(3600);

/// Things to do are collected for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// For so long does what could not be removed wait at first, and each time twice as long.
const WAIT: Duration = Duration::from_secs(1);

/// And at most for so long.
const MOST_WAIT: Duration = Duration::from_secs(60);

impl Snapshots {
    /// Starts the tasks that remove at backends what is no longer needed, one for each.
    pub fn start_reaping(&self, tasks: &Tasks) {
        for at in 0..self.shared.proxied.len() {
            let (snapshots, token) = (self.clone(), tasks.token());
            tasks.spawn("reap-snapshots", async move {
                let proxied = &snapshots.shared.proxied[at];
                let work = async {
                    let mut wait = WAIT;
                    loop {
                        let reaped = snapshots.reap(proxied).await;
                        if let Err(error) = &reaped {
                            let (name, error) = (proxied.name(), chain(error));
                            tracing::warn!(snapshotter = name, error, "not all is removed yet");
                        }
                        let left = reaped.is_err()
                            || snapshots.garbage(proxied).is_ok_and(|left| !left.is_empty());
                        let told = proxied.wake.notified();
                        if !left {
                            told.await;
                            wait = WAIT;
                        } else if tokio::time::timeout(wait, told).await.is_err() {
                            wait = (wait * 2).min(MOST_WAIT);
                        } else {
                            wait = WAIT;
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                };
                token.run_until_cancelled(work).await;
            });
        }
    }

    /// Removes what is no longer needed. Answers the first failure, after all was tried.
    pub(in crate::snapshots) async fn reap(&self, proxied: &Proxied) -> Result<(), Error> {
        let mut failed = None;
        let mut removed = false;
        for (name, made) in self.garbage(proxied)? {
            match self.reap_one(proxied, &name, &made).await {
                Ok(gone) => removed |= gone,
                Err(error) => {
                    // It would be waited for once more, in vain. One that is slow with a snapshot
                    // may be quick with others.
                    let away = error.code() == Code::Unavailable;
                    failed.get_or_insert(error);
                    if away {
                        break;
                    }
                }
            }
        }
        if removed {
            cleanup(proxied).await?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// What nobody refers to, children before their parents.
    fn garbage(&self, proxied: &Proxied) -> Result<Vec<(String, Made)>, Error> {
        let mut garbage = Vec::new();
        let mut expected = HashSet::new();
        self.shared.store.read(|txn| {
            for row in txn.range(&MADE, (proxied.name(),))? {
                let ((_, name), made) = row?;
                expected.extend(made.becomes.clone().filter(|_| made.users > 0));
                if made.users == 0 {
                    garbage.push((name, made));
                }
            }
            Ok::<_, Error>(())
        })?;
        garbage.retain(|(name, _)| !expected.contains(name));
        garbage.sort_by_key(|(_, made)| std::cmp::Reverse(made.number));
        Ok(garbage)
    }

    /// Whether it was there and is gone now.
    async fn reap_one(&self, proxied: &Proxied, name: &str, made: &Made) -> Result<bool, Error> {
        // Whoever is about to be told of a name that the backend has, chosen there or here, must
        // not find it gone. It is tried again.
        let Ok(_adopting) = proxied.adopting.try_write() else { return Ok(false) };
        let still = |txn: &berth_store::Read| txn.get(&MADE, &(proxied.name(), name));
        let unused = self.shared.store.read(still)?.is_some_and(|made| made.users == 0);
        if !unused || lock(&proxied.busy).contains(name) {
            return Ok(false);
        }
        let namespace: Namespace = made.namespace.parse()?;
        let removed = match proxied.backend().remove(&namespace, name).await {
            Ok(()) => true,
            Err(error) if error.code() == Code::NotFound => false,
            Err(error) => return Err(error),
        };
        let age = SystemTime::now().duration_since(made.since.time()).unwrap_or_default();
        if removed || made.settled || age > DOUBT {
            self.disown(proxied.name(), name).await?;
        }
        Ok(removed)
    }

    /// Removes what is no longer needed, and lets the backend clear up.
    pub(in crate::snapshots) async fn cleanup_proxied(
        &self,
        proxied: &Proxied,
    ) -> Result<(), Error> {
        self.reap(proxied).await?;
        cleanup(proxied).await
    }
}

async fn cleanup(proxied: &Proxied) -> Result<(), Error> {
    match proxied.backend().cleanup().await {
        // Few have something to clear.
        Err(error) if error.code() == Code::Unimplemented => Ok(()),
        other => other,
    }
}

impl Proxied {
    /// Says that there may be something to remove.
    pub(in crate::snapshots) fn wake(&self) {
        self.wake.notify_one();
    }
}
