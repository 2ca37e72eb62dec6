//! The store's handle: reads in line, commits by one writer thread.

mod counts;
mod group;
mod job;
mod ready;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use redb::{Database, ReadableDatabase};
use tokio::sync::{mpsc, oneshot, watch};

use crate::Error;
use crate::file::{Location, Migration, Options};
use crate::txn::{Read, Write};
use job::{Job, Typed};

/// How many commits may wait for the writer before callers wait to hand theirs in.
const QUEUE: usize = 256;

type Queue = mpsc::Sender<Box<dyn Job>>;

/// One open store. Clones share the file, which is closed by [`Store::close`], or when the last of
/// them is dropped.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// `None` once the store is being closed.
    queue: Mutex<Option<Queue>>,
    writer: Option<JoinHandle<()>>,
    /// Its sender ends with the writer, after the file was closed.
    closed: watch::Receiver<()>,
}

/// What readers and the writer share.
struct Shared {
    location: Location,
    /// `None` after a failed flush until the file could be opened again.
    database: RwLock<Option<Database>>,
    flushes: AtomicU64,
    /// Why the last group that had something to write could not, if so.
    failure: Mutex<Option<String>>,
}

impl Store {
    /// Opens the store at `path`, making it where there is none.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Damaged`], [`Error::NewerSchema`], [`Error::NoMigration`],
    /// [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        Self::open_migrating(path, options, &[])
    }

    /// As [`Store::open`], with the migrations that lead from older schemas to this one.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_migrating(
        path: impl AsRef<Path>,
        options: Options,
        migrations: &[Migration],
    ) -> Result<Self, Error> {
        counts::register();
        let location = Location { path: path.as_ref().to_owned(), options };
        let database = location.open(migrations)?;
        let shared = Arc::new(Shared {
            location,
            database: RwLock::new(Some(database)),
            flushes: AtomicU64::new(0),
            failure: Mutex::default(),
        });
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (open, closed) = watch::channel(());
        let writer = writer::start(shared.clone(), jobs, open)?;
        let queue = Mutex::new(Some(queue));
        let store = Self(Arc::new(Inner { shared, queue, writer: Some(writer), closed }));
        ready::register(&store);
        Ok(store)
    }

    /// Reads one consistent state, in line. The closure must not call the store.
    ///
    /// # Errors
    /// The closure's, or [`Error::Closed`] or [`Error::Read`] from beginning to read.
    pub fn read<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Read) -> Result<T, E>,
    ) -> Result<T, E> {
        let database = self.0.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(Error::Closed)?;
        let txn = database.begin_read().map_err(|e| Error::Read { table: "", source: e.into() })?;
        work(&Read(txn))
    }

    /// Commits what `work` writes, and answers once it is on disk.
    ///
    /// The closure runs on the writer's thread, perhaps more than once: it must do nothing but
    /// read and write its transaction. When it answers an error nothing of it is kept and the
    /// other commits of its group are not harmed. A caller that stops waiting before its turn
    /// commits nothing; later it may.
    ///
    /// # Errors
    /// The closure's, [`Error::Commit`] when the flush failed, [`Error::Panicked`],
    /// [`Error::Closed`].
    pub async fn commit<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: Fn(&Write) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Typed::new(name, work, answer));
        let queue = self.0.queue().clone().ok_or(Error::Closed)?;
        queue.send(job).await.map_err(|_| Error::Closed)?;
        drop(queue);
        answered.await.map_err(|_| Error::Closed)?
    }

    /// Closes the file: commits that were asked for are done, later ones and reads are refused with
    /// [`Error::Closed`]. When this returns another process may open the file, however many clones
    /// of this handle there are. May be called more than once.
    pub async fn close(&self) {
        drop(self.0.queue().take());
        let mut closed = self.0.closed.clone();
        // Nothing is ever sent: an error is the sender's end.
        while closed.changed().await.is_ok() {}
    }

    /// How often the file was flushed for commits since it was opened: one per group.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.0.shared.flushes.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.0.shared.location.path).finish()
    }
}

impl Inner {
    fn queue(&self) -> std::sync::MutexGuard<'_, Option<Queue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.queue().take());
        let Some(writer) = self.writer.take() else { return };
        // A closure that held the last handle drops it on the writer's own thread.
        if writer.thread().id() != std::thread::current().id() {
            let _ = writer.join();
        }
    }
}
