//! Work that goes on when whoever asked for it has gone away.

use berth_lifecycle::Tasks as Jobs;

use crate::error::{Error, Result};

/// Runs a verb to its end, whatever becomes of its caller.
pub(crate) async fn to_the_end<T: Send + 'static>(
    jobs: &Jobs,
    name: &'static str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    jobs.spawn(name, work).await.map_err(|_| Error::Stopping(name))?
}

/// Work on a task's or a sandbox's folder, on a thread that may wait.
pub(crate) async fn in_folder<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = berth_lifecycle::blocking(name, work).await;
    done.map_err(|source| Error::Child { step: "work on task folder", source })?
}
