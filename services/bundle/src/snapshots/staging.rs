//! Layers that are extracted before they are snapshots: the fast way of a pull.
//!
//! An overlay's layers do not need those below them: all are extracted at once, each into a
//! staging directory, and then renamed to snapshots from the bottom up. What a layer must know of
//! those below (attributes of directories that it only implies) it is told when it is committed.
//! Staging directories are not recorded; a restart removes them, and the pull applies again.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use berth_ids::Labels;
use berth_store::{Write, failpoint};

use super::adopt::{Unrecorded, check_parent};
use super::commit::Naming;
use super::create::adopt_child;
use super::driver::Driver;
use super::proxied::{Extracted, Proxied};
use super::records::SNAPSHOTS;
use super::{Caller, Change, Kind, Shared, Snapshots, Usage, blocking};
use crate::Error;
use crate::erofs::{self, Packing};
use crate::layer::{self, Applied, Limits, Target};

/// Namespace, snapshotter, name.
pub(super) type Key = (String, &'static str, String);

/// A layer in its staging directory.
pub(super) enum Staged {
    /// Being extracted.
    Busy,
    /// Extracted and durable, but for what its commit changes.
    Ready { id: u64, implied: Vec<Vec<u8>>, usage: Usage, parent: Option<String> },
    /// Extracted at a backend, on that parent.
    There { extracted: Extracted, parent: String },
}

/// A layer to be extracted.
#[derive(Clone, Debug)]
pub struct StagedLayer {
    /// In whose name.
    pub caller: Caller,
    /// By which snapshotter; empty for the default.
    pub snapshotter: String,
    /// The caller's name for it.
    pub staging: String,
    /// What messages call it: its digest, or empty for the caller's name.
    pub layer: String,
    /// The snapshot below, for snapshotters that cannot do without.
    pub parent: String,
}

impl StagedLayer {
    pub(super) fn name(&self) -> &str {
        if self.layer.is_empty() { &self.staging } else { &self.layer }
    }
}

/// What a layer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A tar archive.
    Archive,
    /// An EROFS image.
    Image(Packing),
}

impl Snapshots {
    /// Whether a snapshotter extracts layers before those below them.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn is_parallel(&self, snapshotter: &str) -> Result<bool, Error> {
        let snapshotter = self.resolve(snapshotter)?;
        match self.shared.proxied(snapshotter) {
            Some(_) => Ok(false),
            None => Ok(self.shared.driver(snapshotter)?.is_parallel()),
        }
    }

    /// Extracts a layer that no snapshot shows yet.
    ///
    /// # Errors
    /// What is wrong with the layer; [`Error::Exists`] for a name that is in use.
    pub async fn stage(
        &self,
        layer: StagedLayer,
        input: impl Read + Send + 'static,
        limits: Limits,
    ) -> Result<Applied, Error> {
        let name = layer.name().to_owned();
        let staged = self.stage_named(layer, Form::Archive, input, limits);
        staged.await.map_err(|error| error.of_layer(&name))
    }

    /// The same of a layer that is an EROFS image.
    ///
    /// # Errors
    /// As [`Snapshots::stage`], and [`Error::Unsupported`] of any other snapshotter than erofs.
    pub async fn stage_image(
        &self,
        layer: StagedLayer,
        packing: Packing,
        input: impl Read + Send + 'static,
        limits: Limits,
    ) -> Result<Applied, Error> {
        let name = layer.name().to_owned();
        let staged = self.stage_named(layer, Form::Image(packing), input, limits);
        staged.await.map_err(|error| error.of_layer(&name))
    }

    async fn stage_named(
        &self,
        layer: StagedLayer,
        form: Form,
        input: impl Read + Send + 'static,
        limits: Limits,
    ) -> Result<Applied, Error> {
        let snapshotter = self.resolve(&layer.snapshotter)?;
        let namespace = layer.caller.namespace.as_str().to_owned();
        self.shared.fences.check(&namespace)?;
        let takes = |driver: &Driver| driver.erofs().is_some() || form == Form::Archive;
        if !self.shared.driver(snapshotter).map_or(form == Form::Archive, takes) {
            let (what, name) = ("layer", layer.name().to_owned());
            let reason = "it is an EROFS image, which the erofs snapshotter alone takes";
            return Err(Error::Unsupported { what, name, reason });
        }
        let key = (namespace, snapshotter, layer.staging.clone());
        let claim = Claim::new(&self.shared, key)?;
        if let Some(proxied) = self.shared.proxied(snapshotter) {
            return self.stage_there(proxied, layer, input, limits, claim).await;
        }
        let shared = Arc::clone(&self.shared);
        let turn = self.shared.turns.take().await;
        // Claim and turn go along: a caller that gives up frees neither while the directory is
        // still being written.
        let work = move || {
            let _turn = turn;
            shared.extract(&layer, form, input, &limits, claim)
        };
        blocking("extract layer", work).await
    }

    async fn stage_there(
        &self,
        proxied: &Proxied,
        layer: StagedLayer,
        input: impl Read + Send + 'static,
        limits: Limits,
        claim: Claim,
    ) -> Result<Applied, Error> {
        let parent = layer.parent.clone();
        let finish = move |extracted| claim.finish(Staged::There { extracted, parent });
        self.extract_proxied(proxied, &layer, input, limits, finish).await
    }

    /// Makes a staged layer the committed snapshot `name` on `parent`.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing is staged so, or without the parent; [`Error::Exists`] when
    /// the snapshot is there, and then the staged layer is gone.
    pub async fn commit_staged(
        &self,
        caller: Caller,
        snapshotter: &str,
        staging: &str,
        name: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<(), Error> {
        let naming = self.naming(caller, snapshotter, name, parent, labels).await?;
        let (namespace, snapshotter) = (naming.caller.namespace.clone(), naming.snapshotter);
        let key = (namespace.as_str().to_owned(), snapshotter, staging.to_owned());
        // A backend makes its directories itself: no Cleanup waits for what it is asked.
        let _making = match self.shared.proxied(snapshotter) {
            Some(_) => None,
            None => Some(self.shared.making.read().await),
        };
        let (id, implied, usage, under) = match self.shared.take(&key)? {
            Staged::Ready { id, implied, usage, parent } => (id, implied, usage, parent),
            Staged::There { extracted, parent } => {
                return self.commit_there(naming, key.2, extracted, parent).await;
            }
            Staged::Busy => {
                let reason = "it is still being extracted";
                return Err(Error::State { what: "staged layer", name: key.2, reason });
            }
        };
        let unrecorded = Unrecorded::new(&self.shared, snapshotter, id);
        let (usage, unrecorded) = self.put_on(unrecorded, implied, usage, under, &naming).await?;
        // One without a record is deleted here, and not on the store's thread.
        let unrecorded = Arc::new(unrecorded);
        let (shared, staged) = (Arc::clone(&self.shared), Arc::clone(&unrecorded));
        let insert = move |txn: &Write| {
            let inserted = shared.insert_staged(txn, &naming, id, usage)?;
            staged.keep_if(inserted);
            Ok(inserted)
        };
        let committed = self.shared.store.commit("commit layer", insert).await;
        let inserted = committed.inspect_err(|_: &Error| unrecorded.keep_if(false))?;
        if !inserted {
            return Err(Error::Exists { kind: "snapshot", name: name.to_owned() });
        }
        let change = Change::Committed { key: staging.to_owned(), name: name.to_owned() };
        self.tell(&namespace, snapshotter, change);
        Ok(())
    }

    async fn commit_there(
        &self,
        naming: Naming,
        staging: String,
        extracted: Extracted,
        under: String,
    ) -> Result<(), Error> {
        check_parent(Some(&under), &naming)?;
        let missing = || Error::NotLoaded(naming.snapshotter.to_owned());
        let proxied = self.shared.proxied(naming.snapshotter).ok_or_else(missing)?;
        self.commit_extracted(proxied, naming, staging, extracted).await
    }

    /// Puts a staged layer on its parent: `under` is the one that it was extracted on, if it was
    /// extracted on one. Answers what it takes there, which was `usage` before.
    async fn put_on(
        &self,
        unrecorded: Unrecorded,
        implied: Vec<Vec<u8>>,
        usage: Usage,
        under: Option<String>,
        naming: &Naming,
    ) -> Result<(Usage, Unrecorded), Error> {
        let (namespace, snapshotter) = (naming.caller.namespace.as_str(), naming.snapshotter);
        let parents = self
            .shared
            .store
            .read(|txn| super::read::chain(txn, namespace, snapshotter, &naming.parent))?;
        check_parent(under.as_ref(), naming)?;
        let adopt = move || {
            let usage = unrecorded.adopt(usage, &implied, &parents)?;
            Ok((usage, unrecorded))
        };
        blocking("move layer", adopt).await
    }

    /// Throws a staged layer away, if there is one.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the snapshotter; [`Error::State`] while it is being extracted.
    pub fn discard_staged(
        &self,
        caller: &Caller,
        snapshotter: &str,
        staging: &str,
    ) -> Result<(), Error> {
        let snapshotter = self.resolve(snapshotter)?;
        let key = (caller.namespace.as_str().to_owned(), snapshotter, staging.to_owned());
        match self.shared.take(&key) {
            Ok(Staged::Ready { id, .. }) => {
                let directory = self.shared.driver(snapshotter)?.staging(id);
                self.shared.discard(snapshotter, directory);
                Ok(())
            }
            // Removed at the backend once nobody holds it.
            Ok(Staged::There { .. }) => Ok(()),
            Ok(Staged::Busy) => {
                let reason = "it is still being extracted, close its pipe first";
                Err(Error::State { what: "staged layer", name: staging.to_owned(), reason })
            }
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Shared {
    fn extract(
        &self,
        layer: &StagedLayer,
        form: Form,
        input: impl Read + Send,
        limits: &Limits,
        claim: Claim,
    ) -> Result<Applied, Error> {
        let driver = self.driver(claim.key.1)?;
        let id = self.new_id();
        let path = driver.staging(id);
        let extracted = self.extract_into(driver, &path, (layer, form), input, limits);
        match extracted {
            Ok((applied, usage)) => {
                let parent = (!driver.is_parallel()).then(|| layer.parent.clone());
                let implied = applied.implied.clone();
                claim.finish(Staged::Ready { id, implied, usage, parent });
                Ok(applied)
            }
            Err(error) => {
                self.discard(driver.name(), path);
                Err(error)
            }
        }
    }

    fn extract_into(
        &self,
        driver: &Driver,
        path: &Path,
        (layer, form): (&StagedLayer, Form),
        input: impl Read + Send,
        limits: &Limits,
    ) -> Result<(Applied, Usage), Error> {
        let parents = if driver.is_parallel() {
            Vec::new()
        } else {
            let namespace = layer.caller.namespace.as_str();
            let name = driver.name();
            self.store.read(|txn| super::read::chain(txn, namespace, name, &layer.parent))?
        };
        driver.create(path, Kind::Active, &parents)?;
        failpoint::file("layer", "begun");
        let shown = driver.show(path)?;
        let whiteouts = driver.whiteouts();
        let target = Target { layer: layer.name(), root: shown.path(), whiteouts, limits };
        let applied = match (form, driver.erofs()) {
            (Form::Image(packing), _) => {
                erofs::receive_into(input, packing, path, layer.name(), limits)?
            }
            // It becomes an image, and that is made durable.
            (Form::Archive, Some(_)) => layer::extract(input, &target)?,
            (Form::Archive, None) => layer::apply(input, &target)?,
        };
        shown.close()?;
        Ok((applied, driver.usage(path)?))
    }

    /// Takes a staged layer out of the table, unless it is busy.
    fn take(&self, key: &Key) -> Result<Staged, Error> {
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        match staged.get(key) {
            Some(Staged::Busy) => Ok(Staged::Busy),
            Some(_) => Ok(staged.remove(key).expect("it was there just now")),
            None => Err(Error::NotFound { kind: "staged layer", name: key.2.clone() }),
        }
    }

    /// Records a staged layer as a snapshot. False, with nothing but the lease recorded, if the
    /// name is taken.
    fn insert_staged(
        &self,
        txn: &Write,
        naming: &Naming,
        id: u64,
        usage: Usage,
    ) -> Result<bool, Error> {
        if !self.is_free(txn, naming)? {
            return Ok(false);
        }
        let (namespace, snapshotter) = (naming.caller.namespace.as_str(), naming.snapshotter);
        adopt_child(txn, namespace, snapshotter, &naming.parent)?;
        let record = naming.record(id, Some(usage));
        txn.put(&SNAPSHOTS, &(namespace, snapshotter, &*naming.name), &record)?;
        Ok(true)
    }
}

/// A name in use while its layer is being extracted; free again if that fails.
struct Claim {
    shared: Arc<Shared>,
    key: Key,
    result: Option<Staged>,
}

impl Claim {
    fn new(shared: &Arc<Shared>, key: Key) -> Result<Self, Error> {
        let mut staged = shared.staged.lock().unwrap_or_else(PoisonError::into_inner);
        if staged.contains_key(&key) {
            return Err(Error::Exists { kind: "staged layer", name: key.2 });
        }
        staged.insert(key.clone(), Staged::Busy);
        Ok(Self { shared: Arc::clone(shared), key, result: None })
    }

    fn finish(mut self, result: Staged) {
        self.result = Some(result);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut staged = self.shared.staged.lock().unwrap_or_else(PoisonError::into_inner);
        match self.result.take() {
            Some(result) => drop(staged.insert(self.key.clone(), result)),
            None => drop(staged.remove(&self.key)),
        }
    }
}
