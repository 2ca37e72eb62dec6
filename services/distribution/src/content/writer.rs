//! Writing a blob: bytes are hashed and written on another thread while more arrive.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use berth_ids::{Algorithm, Digest, Labels};
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::files::read_at;
use super::info::{Expected, Info, Status};
use super::ingests::Open;
use super::work::Work;
use super::{commit, store::Content};
use crate::error::{Error, Result};
use crate::gc::id::{INGESTS, Id};
use crate::scope::Scope;

/// Writes up to this size are done in line; handing them over would take longer.
const IN_LINE: usize = 8 << 10;

impl Content {
    /// Opens a writer for the blob that goes by this reference, or resumes it.
    ///
    /// # Errors
    /// [`Error::ContentExists`] when the namespace has the expected blob (the lease holds it then),
    /// [`Error::RefLocked`], [`Error::LeaseMissing`], [`Error::Io`], [`Error::Store`].
    pub async fn writer(
        &self,
        scope: &Scope,
        reference: &str,
        expected: Expected,
    ) -> Result<Writer> {
        if reference.is_empty() {
            return Err(Error::Required("ref must not be empty"));
        }
        self.check_lease(scope)?;
        let mut present = None;
        if let Some(digest) = &expected.digest {
            if self.claim(scope, digest).await?.is_some() {
                return Err(Error::ContentExists(digest.clone()));
            }
            present = self.elsewhere(digest, expected.size).await?;
        }
        let ingest = Id::new(&scope.namespace, INGESTS, reference);
        let change = self.0.change(scope, &[ingest], &Default::default()).await?;
        let folder = self.0.files.ingests();
        let exists = |lease: &str| self.has_lease(&scope.namespace, lease);
        let open = Arc::new(self.0.ingests.open(&folder, scope, reference, &expected, exists)?);
        if let (Some((file, size)), Some(digest), 0) =
            (present, &expected.digest, open.ingest().status().offset)
        {
            let digest = digest.clone();
            return Ok(Writer::shared(self.clone(), scope.clone(), open, file, digest, size));
        }
        let algorithm = expected.digest.map_or(Algorithm::Sha256, |digest| digest.algorithm());
        let (held, anew, regrouped) = (open.clone(), open.begins_anew(), open.is_regrouped());
        let begin = move |_: &crate::shared::Shared| {
            let (_until_begun, ingest) = (&change, held.ingest());
            let is_new = !ingest.folder.exists();
            let mut begun = Work::open(ingest, algorithm, regrouped);
            if let (Ok(work), true) = (&mut begun, anew)
                && let Err(error) = work.reset()
            {
                begun = Err(Error::io("begin ingest anew", &ingest.data())(error));
            }
            Ok((begun, is_new))
        };
        match self.0.blocking("open ingest", begin).await? {
            (Ok(work), _) => Ok(Writer::new(self.clone(), scope.clone(), open, work)),
            (Err(error), is_new) => {
                // Nothing could be written: as if the ingest had not begun. An older one keeps what
                // was written to it.
                if is_new {
                    self.discard(open.ingest()).await?;
                }
                Err(error)
            }
        }
    }
}

/// An open ingest. Dropped without a commit, it can be resumed by its reference.
pub struct Writer {
    pub(super) content: Content,
    pub(super) scope: Scope,
    /// Whoever works on the file has it too: the ingest is open until all have ended.
    pub(super) open: Arc<Open>,
    state: State,
    /// Bytes handed over, also those still on their way to the file.
    offset: u64,
}

enum State {
    Idle(Work),
    Busy(JoinHandle<(Work, io::Result<()>)>),
    /// Another namespace has the blob: nothing needs to be written. Its open file.
    Shared {
        file: File,
        digest: Digest,
        size: u64,
    },
    /// A thread that held the file panicked.
    Broken,
}

impl Writer {
    pub(super) fn new(content: Content, scope: Scope, open: Arc<Open>, work: Work) -> Self {
        let offset = work.offset;
        open.ingest().advance(offset);
        Self { content, scope, open, state: State::Idle(work), offset }
    }

    pub(super) fn shared(
        content: Content,
        scope: Scope,
        open: Arc<Open>,
        file: File,
        digest: Digest,
        size: u64,
    ) -> Self {
        open.ingest().advance(size);
        Self { content, scope, open, state: State::Shared { file, digest, size }, offset: size }
    }

    /// Where the next byte goes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The state of the ingest.
    #[must_use]
    pub fn status(&self) -> Status {
        Status { offset: self.offset, ..self.open.ingest().status() }
    }

    /// Hands bytes over. They are in the file after [`Writer::flush`]; a failure of earlier ones is
    /// answered here.
    ///
    /// # Errors
    /// [`Error::Io`] (a full disk among them), after which the ingest ends before the bytes that
    /// failed; [`Error::IngestNotFound`] when it was aborted.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        // More than the other namespace's blob: what is wrong with it the commit says.
        self.copy().await?;
        let mut work = self.settle().await?;
        self.offset += bytes.len() as u64;
        if bytes.len() <= IN_LINE {
            let done = work.append(&bytes);
            self.state = State::Idle(work);
            return self.noted(done);
        }
        let open = self.open.clone();
        self.state = State::Busy(tokio::task::spawn_blocking(move || {
            let _until_written = open;
            let done = work.append(&bytes);
            (work, done)
        }));
        Ok(())
    }

    /// Waits until all bytes are in the file.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn flush(&mut self) -> Result<()> {
        if matches!(self.state, State::Busy(_)) {
            let work = self.settle().await?;
            self.state = State::Idle(work);
        }
        Ok(())
    }

    /// Begins the blob again from its first byte.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn reset(&mut self) -> Result<()> {
        let mut work = match std::mem::replace(&mut self.state, State::Broken) {
            State::Shared { digest, .. } => self.fresh(digest.algorithm()).await?,
            other => {
                self.state = other;
                self.settle().await?
            }
        };
        let done = work.reset();
        self.state = State::Idle(work);
        self.noted(done)
    }

    /// The digest of what was written so far.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn digest(&mut self) -> Result<Digest> {
        self.flush().await?;
        match &self.state {
            State::Idle(work) => Ok(work.hasher.digest()),
            State::Shared { digest, .. } => Ok(digest.clone()),
            State::Busy(_) | State::Broken => Err(Error::Worker("write ingest")),
        }
    }

    /// Makes the ingest a blob of the namespace: it is durable when this returns. The ingest ends.
    /// Once its bytes are found to be right this comes to its end, whether or not anybody waits.
    ///
    /// `size` 0 and no digest stand for what was written. The writer is of no use afterwards unless
    /// size or digest were wrong.
    ///
    /// # Errors
    /// [`Error::WrongSize`], [`Error::WrongDigest`], [`Error::ContentExists`] (then the lease holds
    /// it), [`Error::LeaseMissing`], [`Error::Label`], [`Error::Io`], [`Error::Store`].
    pub async fn commit(
        &mut self,
        size: u64,
        expected: Option<Digest>,
        labels: Labels,
    ) -> Result<Info> {
        self.flush().await?;
        let reference = self.open.ingest().reference().to_owned();
        if self.open.ingest().is_gone() {
            return Err(Error::IngestNotFound(reference));
        }
        if size != 0 && size != self.offset {
            return Err(Error::WrongSize { reference, actual: self.offset, expected: size });
        }
        let labels = crate::shared::clean_labels("info", labels)?;
        let actual = self.finish(expected.as_ref()).await?;
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            return Err(Error::WrongDigest { actual, expected });
        }
        let now = SystemTime::now();
        let info = Info { digest: actual, size: self.offset, created: now, updated: now, labels };
        let placing = Self {
            content: self.content.clone(),
            scope: self.scope.clone(),
            open: self.open.clone(),
            state: std::mem::replace(&mut self.state, State::Broken),
            offset: self.offset,
        };
        self.content.0.to_its_end("commit content", placing.place(info)).await
    }

    async fn place(mut self, info: Info) -> Result<Info> {
        let content = self.content.clone();
        let _lock = content.0.blob_locks.alone(&info.digest).await;
        let shared = matches!(self.state, State::Shared { .. });
        if shared {
            let is_kept = match &content.0.there {
                None => content.0.files.blob(&info.digest).exists(),
                Some(there) => there.has(&info.digest, info.size).await?,
            };
            if !is_kept {
                self.copy().await?;
            }
        }
        let file = match &self.state {
            State::Idle(work) => Some(
                work.file.try_clone().map_err(Error::io("commit", &self.open.ingest().data()))?,
            ),
            _ => None,
        };
        commit::commit(&content, &self.scope, self.open.ingest(), file, info).await
    }

    /// Writes the bytes that the writer shares into its own ingest, if it shares any.
    async fn copy(&mut self) -> Result<()> {
        let (file, digest, size) = match std::mem::replace(&mut self.state, State::Broken) {
            State::Shared { file, digest, size } => (file, digest, size),
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let mut work = self.fresh(digest.algorithm()).await?;
        let (open, path) = (self.open.clone(), self.open.ingest().data());
        let copied = self
            .content
            .0
            .blocking("copy blob", move |_| {
                let _until_copied = open;
                while work.offset < size {
                    let length = (size - work.offset).min(1 << 20) as usize;
                    let part = read_at(&file, work.offset, length);
                    let done = part.and_then(|bytes| work.append(&bytes));
                    done.map_err(Error::io("copy blob", &path))?;
                }
                Ok(work)
            })
            .await?;
        self.state = State::Idle(copied);
        Ok(())
    }

    async fn fresh(&self, algorithm: Algorithm) -> Result<Work> {
        let held = self.open.clone();
        let open = move |_: &crate::shared::Shared| Work::open(held.ingest(), algorithm, false);
        self.content.0.blocking("open ingest", open).await
    }

    async fn finish(&mut self, expected: Option<&Digest>) -> Result<Digest> {
        if let State::Shared { digest, .. } = &self.state {
            return Ok(digest.clone());
        }
        let mut work = self.settle().await?;
        let algorithm = expected.map_or(work.hasher.algorithm(), Digest::algorithm);
        let (work, digest) = if work.hasher.algorithm() == algorithm {
            let digest = work.finish(algorithm);
            (work, digest)
        } else {
            let open = self.open.clone();
            let hashed = tokio::task::spawn_blocking(move || {
                let _until_hashed = open;
                let digest = work.finish(algorithm);
                (work, digest)
            });
            hashed.await.map_err(|_| Error::Worker("hash ingest"))?
        };
        self.state = State::Idle(work);
        digest.map_err(Error::io("hash ingest", &self.open.ingest().data()))
    }

    /// Waits for the thread and takes the file back.
    async fn settle(&mut self) -> Result<Work> {
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Idle(work) => Ok(work),
            State::Busy(thread) => {
                let (work, done) = thread.await.map_err(|_| Error::Worker("write ingest"))?;
                let end = work.offset;
                match done {
                    Ok(()) => {
                        self.open.ingest().advance(end);
                        Ok(work)
                    }
                    Err(error) => {
                        self.state = State::Idle(work);
                        self.noted(Err(error)).and(Err(Error::Worker("write ingest")))
                    }
                }
            }
            State::Shared { .. } | State::Broken => Err(Error::Worker("write ingest")),
        }
    }

    /// After bytes went to the file or failed to: where the ingest ends now.
    fn noted(&mut self, done: io::Result<()>) -> Result<()> {
        if let State::Idle(work) = &self.state {
            self.offset = work.offset;
        }
        let ingest = self.open.ingest();
        ingest.advance(self.offset);
        done.map_err(Error::io("write ingest", &ingest.data()))
    }
}
