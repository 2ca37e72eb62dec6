//! The ingests of all namespaces: which there are and which are open.
//!
//! An ingest is a folder with its bytes and a small file that says what it is, so that it can be
//! resumed by another run. Neither is durable before the blob is committed: what a power cut takes
//! is hashed again and found missing.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use berth_ids::Namespace;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::info::{Expected, Status};
use crate::error::{Error, Result};
use crate::scope::Scope;

/// How long an ingest that no lease holds may lie unused.
pub const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// All ingests.
#[derive(Default)]
pub struct Ingests(Mutex<HashMap<(Namespace, String), Arc<Ingest>>>);

/// One ingest.
pub struct Ingest {
    /// Its folder.
    pub folder: PathBuf,
    card: Card,
    /// The leases that hold it: those that a writer has opened it under.
    leases: Mutex<BTreeSet<String>>,
    /// Bytes written.
    offset: AtomicU64,
    updated: Mutex<SystemTime>,
    expected: Mutex<Expected>,
    open_since: Mutex<Option<Instant>>,
    gone: AtomicBool,
}

/// What an ingest's file says of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Card {
    namespace: Namespace,
    reference: String,
    #[serde(default)]
    leases: BTreeSet<String>,
    /// The only one, as it was written before.
    #[serde(default, skip_serializing)]
    lease: Option<String>,
    started: SystemTime,
    expected: Expected,
}

impl Card {
    /// Whether a lease holds the ingest.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.lease.is_some() || !self.leases.is_empty()
    }
}

/// An open ingest: nobody else can open it meanwhile.
pub struct Open {
    ingest: Arc<Ingest>,
    anew: bool,
    regrouped: bool,
}

impl Ingests {
    /// Opens the ingest of this name, making it if there is none, and forgets those of its leases that
    /// are no more. The folder of a new one is made by the caller.
    ///
    /// # Errors
    /// [`Error::RefLocked`].
    pub fn open(
        &self,
        folder: &Path,
        scope: &Scope,
        reference: &str,
        expected: &Expected,
        exists: impl Fn(&str) -> Result<bool>,
    ) -> Result<Open> {
        let key = (scope.namespace.clone(), reference.to_owned());
        let mut all = self.all();
        let ingest = all.entry(key).or_insert_with(|| {
            let card = Card {
                namespace: scope.namespace.clone(),
                reference: reference.to_owned(),
                leases: BTreeSet::new(),
                lease: None,
                started: SystemTime::now(),
                expected: expected.clone(),
            };
            let folder = folder.join(uuid::Uuid::new_v4().simple().to_string());
            Arc::new(Ingest::new(folder, card, 0, SystemTime::now()))
        });
        let mut since = lock(&ingest.open_since);
        if let Some(since) = *since {
            let held = since.elapsed();
            let since = OffsetDateTime::now_utc() - held;
            return Err(Error::RefLocked { reference: reference.to_owned(), held, since });
        }
        *since = Some(Instant::now());
        drop(since);
        let anew = lock(&ingest.expected).learn(expected);
        let mut open = Open { ingest: ingest.clone(), anew, regrouped: false };
        drop(all);
        open.regrouped = open.ingest.regroup(scope.lease.as_deref(), exists)?;
        Ok(open)
    }

    /// The ingest of this name.
    ///
    /// # Errors
    /// [`Error::IngestNotFound`].
    pub fn get(&self, namespace: &Namespace, reference: &str) -> Result<Arc<Ingest>> {
        let key = (namespace.clone(), reference.to_owned());
        self.all().get(&key).cloned().ok_or_else(|| Error::IngestNotFound(reference.to_owned()))
    }

    /// Those that `wanted` accepts.
    pub fn list(&self, wanted: impl Fn(&Ingest) -> bool) -> Vec<Arc<Ingest>> {
        self.all().values().filter(|ingest| wanted(ingest)).cloned().collect()
    }

    /// Forgets an ingest. Its folder is the caller's to delete; an open writer finds it gone.
    pub fn remove(&self, ingest: &Arc<Ingest>) {
        ingest.gone.store(true, Ordering::SeqCst);
        let key = (ingest.card.namespace.clone(), ingest.card.reference.clone());
        let mut all = self.all();
        if all.get(&key).is_some_and(|found| Arc::ptr_eq(found, ingest)) {
            all.remove(&key);
        }
    }

    /// Forgets an ingest unless a writer has it open or `keep` says so; answers whether it went.
    pub fn remove_idle(&self, ingest: &Arc<Ingest>, keep: impl Fn() -> bool) -> bool {
        let key = (ingest.card.namespace.clone(), ingest.card.reference.clone());
        let mut all = self.all();
        if ingest.is_open() || keep() {
            return false;
        }
        ingest.gone.store(true, Ordering::SeqCst);
        all.remove(&key).is_some()
    }

    /// Takes in an ingest that an earlier run left.
    pub fn adopt(&self, folder: PathBuf, card: Card, offset: u64, updated: SystemTime) {
        let key = (card.namespace.clone(), card.reference.clone());
        self.all().insert(key, Arc::new(Ingest::new(folder, card, offset, updated)));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(Namespace, String), Arc<Ingest>>> {
        lock(&self.0)
    }
}

impl Ingest {
    fn new(folder: PathBuf, mut card: Card, offset: u64, updated: SystemTime) -> Self {
        let expected = Mutex::new(card.expected.clone());
        let leases = std::mem::take(&mut card.leases).into_iter().chain(card.lease.take());
        let leases = Mutex::new(leases.collect());
        Self {
            folder,
            card,
            leases,
            offset: AtomicU64::new(offset),
            updated: Mutex::new(updated),
            expected,
            open_since: Mutex::default(),
            gone: AtomicBool::new(false),
        }
    }

    /// The namespace that it belongs to.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.card.namespace
    }

    /// The name by which it is resumed.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.card.reference
    }

    /// The leases that hold it.
    #[must_use]
    pub fn leases(&self) -> BTreeSet<String> {
        lock(&self.leases).clone()
    }

    /// Puts it under a lease too and forgets those that are no more; answers whether that changed
    /// anything.
    fn regroup(&self, lease: Option<&str>, exists: impl Fn(&str) -> Result<bool>) -> Result<bool> {
        let before = self.leases();
        let mut after = BTreeSet::new();
        for held in before.iter().map(String::as_str).chain(lease) {
            if exists(held)? {
                after.insert(held.to_owned());
            }
        }
        let changed = after != before;
        *lock(&self.leases) = after;
        Ok(changed)
    }

    /// What is written beside its bytes.
    #[must_use]
    pub fn card(&self) -> Card {
        Card { leases: self.leases(), ..self.card.clone() }
    }

    /// The file of its bytes.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its state.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            reference: self.card.reference.clone(),
            offset: self.offset.load(Ordering::SeqCst),
            expected: lock(&self.expected).clone(),
            started: self.card.started,
            updated: *lock(&self.updated),
        }
    }

    /// Records how far its writer got.
    pub fn advance(&self, offset: u64) {
        self.offset.store(offset, Ordering::SeqCst);
        *lock(&self.updated) = SystemTime::now();
    }

    /// Whether it was aborted or committed.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Whether a writer has it open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        lock(&self.open_since).is_some()
    }

    /// Whether nobody holds it and it has not been written to for long.
    #[must_use]
    pub fn is_stale(&self, now: SystemTime) -> bool {
        let age = now.duration_since(*lock(&self.updated)).unwrap_or_default();
        self.leases().is_empty() && !self.is_open() && age > STALE
    }
}

impl Open {
    /// The ingest.
    #[must_use]
    pub fn ingest(&self) -> &Arc<Ingest> {
        &self.ingest
    }

    /// Whether other leases hold it than before.
    #[must_use]
    pub fn is_regrouped(&self) -> bool {
        self.regrouped
    }

    /// Whether what was written is of another blob, one of another size.
    #[must_use]
    pub fn begins_anew(&self) -> bool {
        self.anew
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        *lock(&self.ingest.open_since) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
