//! The one thread that writes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use super::Shared;
use super::group::{self, Outcome};
use super::job::Job;
use crate::Error;

/// How many commits share a flush at most. One that spoils a group has all others run again, so
/// that this also bounds the work that bad closures can cause.
const GROUP: usize = 64;

/// Starts the thread. When all senders are gone and their commits are done it closes the file, then
/// drops `open`, and ends.
pub(super) fn start(
    shared: Arc<Shared>,
    mut jobs: mpsc::Receiver<Box<dyn Job>>,
    open: watch::Sender<()>,
) -> Result<JoinHandle<()>, Error> {
    let path = shared.location.path.clone();
    std::thread::Builder::new()
        .name("store-writer".into())
        .stack_size(1 << 20)
        .spawn(move || {
            while let Some(first) = jobs.blocking_recv() {
                let mut group = vec![first];
                while group.len() < GROUP
                    && let Ok(next) = jobs.try_recv()
                {
                    group.push(next);
                }
                group.retain(|job| !job.abandoned());
                write(&shared, group);
            }
            drop(shared.database.write().unwrap_or_else(PoisonError::into_inner).take());
            drop(open);
        })
        .map_err(|source| Error::Io { path, source })
}

fn write(shared: &Shared, jobs: Vec<Box<dyn Job>>) {
    let outcome = {
        let database = shared.database.read().unwrap_or_else(PoisonError::into_inner);
        match database.as_ref() {
            Some(database) => group::run(database, jobs),
            None => Outcome { settled: jobs, flushed: false, failure: Some(closed()) },
        }
    };
    if outcome.flushed {
        shared.flushes.fetch_add(1, Ordering::Relaxed);
        shared.set_failure(None);
    }
    let result = match outcome.failure {
        Some(error) => {
            let why = reopen(shared, &error);
            shared.set_failure(Some(why));
            Err(error)
        }
        None => Ok(()),
    };
    for job in outcome.settled {
        job.settle(result.clone());
    }
}

fn closed() -> Arc<redb::Error> {
    Arc::new(redb::Error::DatabaseClosed)
}

/// After a failed write redb refuses everything until the file is opened again, which a full disk
/// that has room again must not need a restart for. Answers what is in the way.
fn reopen(shared: &Shared, failure: &redb::Error) -> String {
    let mut database = shared.database.write().unwrap_or_else(PoisonError::into_inner);
    let path = shared.location.path.display();
    tracing::warn!(%path, error = %failure, "flush failed, opening the store again");
    drop(database.take());
    match shared.location.reopen() {
        Ok(open) => {
            *database = Some(open);
            failure.to_string()
        }
        Err(error) => {
            let error = berth_errors::chain(&error).to_string();
            tracing::error!(%path, error, "store is closed until the next commit tries to open it");
            error
        }
    }
}
