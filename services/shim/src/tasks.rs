//! The shim's own tasks: joined or aborted when it ends.
//!
//! The shim has no use for spans, and berth-lifecycle brings tracing with it.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::{Error, patience, runs};

/// A set of running tasks.
#[derive(Default)]
pub(crate) struct Tasks {
    running: Mutex<JoinSet<()>>,
}

impl Tasks {
    fn running(&self) -> MutexGuard<'_, JoinSet<()>> {
        lock(&self.running)
    }

    /// Starts a task.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running();
        while running.try_join_next().is_some() {}
        running.spawn(future);
    }

    /// Runs a future to its end, even if the caller goes away meanwhile.
    pub(crate) async fn complete<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        let (number, until) = (runs::current(), patience::current());
        self.spawn(async move {
            // The caller may have gone away.
            let _ = sender.send(runs::of(number, patience::of(until, future)).await);
        });
        receiver.await.unwrap_or(Err(Error::State("the shim is ending")))
    }

    /// Waits for all tasks for at most `bound`, then aborts what is left.
    pub(crate) async fn drain(&self, bound: Duration) {
        let mut running = std::mem::take(&mut *self.running());
        // What the bound cuts off is aborted by `shutdown`.
        let _ = tokio::time::timeout(bound, async { while running.join_next().await.is_some() {} })
            .await;
        running.shutdown().await;
    }
}

/// Locks; a panic elsewhere leaves plain data behind that is still good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
