//! The tasks of a process: each has a name and a span, all are joined when draining.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

/// All tasks of one process. Cheap to clone; clones share everything.
///
/// Invariant: a task that was spawned here has ended when [`Tasks::drain`] returns.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    token: CancellationToken,
    tracker: TaskTracker,
    next: AtomicU64,
    running: Mutex<BTreeMap<u64, Running>>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    abort: Option<AbortHandle>,
    since: Instant,
    polled: Arc<Polled>,
}

impl Tasks {
    /// A process without tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task under a span of its name. The handle may be dropped: the task goes on.
    ///
    /// A task that should end with the process watches [`Tasks::token`].
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // A span's own name is its `name` in a log of objects.
        let span = crate::named_or_current(tracing::info_span!("task", job = name));
        self.spawn_in(span, name, future)
    }

    /// Starts a task that is nobody's part, whoever comes to start it: a connection that a call opens is
    /// there for others too, and what it logs later has nothing of that call.
    pub fn spawn_apart<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let span = tracing::info_span!(parent: None, "task", job = name);
        self.spawn_in(span, name, future)
    }

    fn spawn_in<F>(&self, span: Span, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { shared: self.shared.clone(), id, name };
        let polled = Arc::new(Polled::new());
        let running = Running { name, abort: None, since: Instant::now(), polled: polled.clone() };
        self.shared.lock().insert(id, running);
        let work = async move {
            let _entry = entry;
            future.await
        };
        let work = watched(work.instrument(span), polled);
        let handle = self.shared.tracker.spawn(work);
        // The task may have ended already; then there is no entry left to complete.
        if let Some(running) = self.shared.lock().get_mut(&id) {
            running.abort = Some(handle.abort_handle());
        }
        handle
    }

    /// Starts a task that has no end of its own: it is dropped when the process begins to drain.
    pub fn spawn_endless<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.token();
        self.spawn(name, async move {
            stop.run_until_cancelled(future).await;
        });
    }

    /// Cancelled when the process begins to drain.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.shared.token.clone()
    }

    /// A line for each task: its name, how long it runs, and for how long nothing has woken it.
    #[must_use]
    pub fn describe(&self) -> String {
        let running = self.shared.lock();
        let mut text = format!("{} tasks\n", running.len());
        for task in running.values() {
            let (runs, waits) = (task.since.elapsed(), task.polled.waits());
            text.push_str(&format!("{}: runs {runs:.1?}, waits {waits:.1?}\n", task.name));
        }
        text
    }

    /// Cancels the token, waits until `deadline` for the tasks to end, aborts the rest and waits
    /// for those too. Returns the names of what had to be aborted.
    pub async fn drain(&self, deadline: Duration) -> Vec<&'static str> {
        self.shared.token.cancel();
        self.shared.tracker.close();
        if tokio::time::timeout(deadline, self.shared.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        let mut aborted = Vec::new();
        for running in self.shared.lock().values() {
            aborted.push(running.name);
            if let Some(abort) = &running.abort {
                abort.abort();
            }
        }
        self.shared.tracker.wait().await;
        aborted
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Running>> {
        // The map is whole after every statement: a panic elsewhere cannot have torn it.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When something last woke a task.
#[derive(Debug)]
struct Polled {
    began: Instant,
    /// Milliseconds after `began`.
    at: AtomicU64,
}

impl Polled {
    fn new() -> Self {
        Self { began: Instant::now(), at: AtomicU64::new(0) }
    }

    fn now(&self) {
        let at = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at.store(at, Ordering::Relaxed);
    }

    fn waits(&self) -> Duration {
        let at = Duration::from_millis(self.at.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(at)
    }
}

/// The same work, which notes whenever it is woken.
async fn watched<F: Future>(work: F, polled: Arc<Polled>) -> F::Output {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| {
        polled.now();
        work.as_mut().poll(cx)
    })
    .await
}

/// Takes the task off the list however it ends.
struct Entry {
    shared: Arc<Shared>,
    id: u64,
    name: &'static str,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.id);
        if std::thread::panicking() {
            tracing::error!(name = self.name, "task panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drain_waits_for_what_watches_the_token() {
        let tasks = Tasks::new();
        let token = tasks.token();
        let handle = tasks.spawn("polite", async move {
            token.cancelled().await;
            tokio::task::yield_now().await;
            7
        });
        assert_eq!(tasks.drain(Duration::from_secs(60)).await, Vec::<&str>::new());
        assert_eq!(handle.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn drain_aborts_what_does_not_end_and_names_it() {
        let tasks = Tasks::new();
        let handle = tasks.spawn("deaf", std::future::pending::<()>());
        assert_eq!(tasks.drain(Duration::from_millis(20)).await, ["deaf"]);
        assert!(handle.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn tasks_are_described_with_what_they_wait() {
        let tasks = Tasks::new();
        tasks.spawn("waiting", std::future::pending::<()>());
        tokio::time::sleep(Duration::from_millis(20)).await;
        let text = tasks.describe();
        assert!(text.starts_with("1 tasks\nwaiting: runs "), "{text}");
        assert!(!text.contains("waits 0."), "{text}");
    }

    #[tokio::test]
    async fn what_has_no_end_of_its_own_holds_up_no_drain() {
        let tasks = Tasks::new();
        tasks.spawn_endless("endless", std::future::pending());
        assert_eq!(tasks.drain(Duration::from_secs(60)).await, Vec::<&str>::new());
    }

    #[tokio::test]
    async fn an_ended_task_leaves_no_trace() {
        let tasks = Tasks::new();
        tasks.spawn("quick", async {}).await.unwrap();
        let crashed = tasks.spawn("crash", async { panic!("on purpose") });
        assert!(crashed.await.unwrap_err().is_panic());
        assert!(tasks.shared.lock().is_empty());
    }
}
