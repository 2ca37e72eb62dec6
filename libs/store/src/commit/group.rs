//! Runs a group of commits in one transaction and flushes it once.

use std::sync::Arc;
use std::time::Instant;

use redb::Database;

use super::counts::FLUSHES;
use super::job::{Job, Ran};
use crate::failpoint;
use crate::txn::Write;

/// What became of a group. Each job is in one of the lists.
pub(super) struct Outcome {
    /// Those whose results hold, whether the closure answered `Ok` or refused.
    pub(super) settled: Vec<Box<dyn Job>>,
    /// Whether the file was flushed.
    pub(super) flushed: bool,
    /// Why nothing was kept, if so.
    pub(super) failure: Option<Arc<redb::Error>>,
}

/// Runs `jobs` in order. One that refuses after it has written, or panics, spoils the transaction:
/// the others are run again without it.
pub(super) fn run(database: &Database, mut jobs: Vec<Box<dyn Job>>) -> Outcome {
    let mut refused = Vec::new();
    let result = loop {
        match attempt(database, &mut jobs) {
            Ok(Attempt::Spoilt(index)) => refused.push(jobs.remove(index)),
            Ok(Attempt::Flushed) => break Ok(true),
            Ok(Attempt::Clean) => break Ok(false),
            Err(error) => break Err(Arc::new(*error)),
        }
    };
    jobs.extend(refused);
    match result {
        Ok(flushed) => Outcome { settled: jobs, flushed, failure: None },
        Err(failure) => Outcome { settled: jobs, flushed: false, failure: Some(failure) },
    }
}

enum Attempt {
    /// All that answered `Ok` is on disk.
    Flushed,
    /// Nobody wrote anything.
    Clean,
    /// The job at this index spoilt the transaction, which was thrown away.
    Spoilt(usize),
}

fn attempt(database: &Database, jobs: &mut [Box<dyn Job>]) -> Result<Attempt, Box<redb::Error>> {
    let boxed = |e: redb::Error| Box::new(e);
    let mut txn = database.begin_write().map_err(|e| boxed(e.into()))?;
    txn.set_quick_repair(QUICK_REPAIR);
    let write = Write::new(txn);
    let mut wrote = Vec::new();
    for (index, job) in jobs.iter_mut().enumerate() {
        let ran = job.run(&write);
        match (ran, write.take_dirty()) {
            (Ran::Kept, true) => wrote.push(job.name()),
            (Ran::Kept | Ran::Refused, false) => {}
            (Ran::Refused, true) | (Ran::Panicked, _) => return Ok(Attempt::Spoilt(index)),
        }
    }
    if wrote.is_empty() {
        return Ok(Attempt::Clean);
    }
    wrote.iter().for_each(|name| failpoint::hit(name, "before-commit"));
    let began = Instant::now();
    write.into_inner().commit().map_err(|e| boxed(e.into()))?;
    FLUSHES.count(began.elapsed());
    wrote.iter().for_each(|name| failpoint::hit(name, "after-commit"));
    Ok(Attempt::Flushed)
}

/// Whether the file says by itself, after each commit, which of its pages are free. Measured and
/// decided in docs/adr/0004-local-store.md.
const QUICK_REPAIR: bool = false;
