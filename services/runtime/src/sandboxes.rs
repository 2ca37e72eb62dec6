//! Sandboxes: records of groups of containers, and those who run them: in [`controller`] by shims, in
//! [`proxied`] as processes of others do.

mod controller;
mod proxied;
mod sandboxer;
mod terms;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use berth_filters::{Adaptor, Filter, label};
use berth_ids::{Namespace, validate_identifier, validate_labels};
use berth_store::Store;

use crate::error::{Error, Result};
use crate::gate::{Gate, Pass};
use crate::records::{SANDBOXES, Sandbox};

pub(crate) use controller::FOLDER;
pub use controller::{Controller, Parts};
pub use proxied::{Proxied, Terms};
pub use sandboxer::{SHIM, Sandboxer, Sandboxers, Work};
use terms::READY;

pub use terms::{Endpoint, Measured, Platform, Report, Setup, Started};

/// The sandboxes of the node.
#[derive(Clone)]
pub struct Sandboxes {
    store: Store,
    gate: Arc<Gate>,
}

struct View<'a>(&'a Sandbox);

impl Adaptor for View<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id", ..] => Some(Cow::Borrowed(&self.0.id)),
            ["runtime", "name", ..] => Some(Cow::Borrowed(&self.0.runtime.name)),
            ["labels", rest @ ..] => label(&self.0.labels, rest),
            _ => None,
        }
    }
}

impl Sandboxes {
    /// The sandboxes in `store`.
    #[must_use]
    pub fn new(store: Store, gate: Arc<Gate>) -> Self {
        Self { store, gate }
    }

    /// Checks that the lease that a change names is there, if it names one.
    ///
    /// # Errors
    /// [`Error::Peer`], with NOT_FOUND for a lease that is not there.
    pub async fn under(&self, ns: &Namespace, lease: Option<&str>) -> Result<()> {
        self.gate.under(ns, lease).await
    }

    /// Enters a change of a namespace that is none of a record.
    pub(crate) async fn enter(&self, ns: &Namespace) -> Result<Pass> {
        self.gate.enter(ns, &[], &berth_ids::Labels::new()).await
    }

    /// Records a sandbox. Its times are set here.
    ///
    /// # Errors
    /// [`Error::SandboxExists`], [`Error::Name`], [`Error::Fenced`].
    pub async fn create(&self, ns: &Namespace, mut sandbox: Sandbox) -> Result<Sandbox> {
        validate(&sandbox).map_err(Error::within("failed to validate sandbox"))?;
        sandbox.labels.retain(|_, value| !value.is_empty());
        sandbox.created = SystemTime::now();
        sandbox.updated = sandbox.created;
        let pass = self.gate.enter(ns, &[], &sandbox.labels).await?;
        let (key, record) = ((ns.to_string(), sandbox.id.clone()), sandbox.clone());
        let work = move |txn: &berth_store::Write| {
            // Until this commit is done, whoever waits for it.
            let _entered = &pass;
            if txn.get(&SANDBOXES, &key)?.is_some() {
                return Err(Error::SandboxExists(key.1.clone()));
            }
            Ok(txn.put(&SANDBOXES, &key, &record)?)
        };
        self.store.commit("sandboxes.create", work).await?;
        Ok(sandbox)
    }

    /// One sandbox.
    ///
    /// # Errors
    /// [`Error::SandboxNotFound`].
    pub fn get(&self, ns: &Namespace, id: &str) -> Result<Sandbox> {
        let found = self.store.read(|txn| txn.get(&SANDBOXES, &(ns.as_str(), id)))?;
        found.ok_or_else(|| Error::SandboxNotFound(id.to_owned()))
    }

    /// Those that match.
    ///
    /// # Errors
    /// [`Error::Filter`], [`Error::Store`].
    pub fn list(&self, ns: &Namespace, filters: &[String]) -> Result<Vec<Sandbox>> {
        let filter = Filter::parse_any(filters)?;
        self.store.read(|txn| {
            let mut found = Vec::new();
            for record in txn.range(&SANDBOXES, (ns.as_str(),))? {
                let (_, sandbox) = record?;
                if filter.matches(&View(&sandbox)) {
                    found.push(sandbox);
                }
            }
            Ok(found)
        })
    }

    /// Hands every sandbox of every namespace to `each`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn every(&self, mut each: impl FnMut(String, Sandbox)) -> Result<()> {
        self.store.read(|txn| {
            for record in txn.range(&SANDBOXES, ())? {
                let ((namespace, _), sandbox) = record?;
                each(namespace, sandbox);
            }
            Ok(())
        })
    }

    /// Changes the fields that `paths` name; none: all that may change, which the runtime's name may
    /// not.
    ///
    /// # Errors
    /// [`Error::SandboxNotFound`], [`Error::Invalid`], [`Error::Name`], [`Error::Fenced`].
    pub async fn update(
        &self,
        ns: &Namespace,
        new: Sandbox,
        paths: Vec<String>,
    ) -> Result<Sandbox> {
        let pass = self.gate.enter(ns, &[], &new.labels).await?;
        let key = (ns.to_string(), new.id.clone());
        let work = move |txn: &berth_store::Write| {
            // Until this commit is done, whoever waits for it.
            let _entered = &pass;
            let found = txn.get(&SANDBOXES, &key)?;
            let mut sandbox = found.ok_or_else(|| Error::SandboxNotFound(key.1.clone()))?;
            apply(&mut sandbox, &new, &paths)?;
            validate(&sandbox)?;
            sandbox.updated = SystemTime::now();
            txn.put(&SANDBOXES, &key, &sandbox)?;
            Ok::<_, Error>(sandbox)
        };
        let updated = self.store.commit("sandboxes.update", work).await?;
        Ok(updated)
    }

    /// Forgets a sandbox.
    ///
    /// # Errors
    /// [`Error::SandboxNotFound`].
    pub async fn delete(&self, ns: &Namespace, id: &str) -> Result<()> {
        let key = (ns.to_string(), id.to_owned());
        let work = move |txn: &berth_store::Write| {
            if txn.delete(&SANDBOXES, &key)? {
                return Ok(());
            }
            Err(Error::SandboxNotFound(key.1.clone()))
        };
        self.store.commit("sandboxes.delete", work).await
    }
}

fn validate(sandbox: &Sandbox) -> Result<()> {
    validate_identifier(&sandbox.id)
        .map_err(|source| Error::Name { what: "invalid sandbox ID", source })?;
    validate_labels(&sandbox.labels)
        .map_err(|source| Error::Name { what: "sandbox.Labels", source })
}

/// What may change.
const ALL: [&str; 4] = ["labels", "extensions", "spec", "runtime"];

fn apply(sandbox: &mut Sandbox, new: &Sandbox, paths: &[String]) -> Result<()> {
    if paths.is_empty() {
        if sandbox.runtime.name != new.runtime.name {
            return Err(Error::Invalid("sandbox.Runtime.Name field is immutable".into()));
        }
        return ALL.iter().try_for_each(|path| one(sandbox, new, path));
    }
    paths.iter().try_for_each(|path| one(sandbox, new, path))
}

fn one(sandbox: &mut Sandbox, new: &Sandbox, path: &str) -> Result<()> {
    if let Some(key) = path.strip_prefix("labels.") {
        let value = new.labels.get(key).cloned().unwrap_or_default();
        sandbox.labels.insert(key.to_owned(), value);
        sandbox.labels.retain(|_, value| !value.is_empty());
        return Ok(());
    }
    if let Some(key) = path.strip_prefix("extensions.") {
        match new.extensions.get(key) {
            Some(value) => sandbox.extensions.insert(key.to_owned(), value.clone()),
            None => sandbox.extensions.remove(key),
        };
        return Ok(());
    }
    match path {
        "labels" => {
            sandbox.labels.clone_from(&new.labels);
            sandbox.labels.retain(|_, value| !value.is_empty());
        }
        "extensions" => sandbox.extensions.clone_from(&new.extensions),
        "runtime" => sandbox.runtime.clone_from(&new.runtime),
        "spec" => sandbox.spec.clone_from(&new.spec),
        _ => {
            let text = format!("cannot update {path:?} field on sandbox {:?}", sandbox.id);
            return Err(Error::Invalid(text));
        }
    }
    Ok(())
}
