//! The tables of the service's store and what every transaction does alike.
//!
//! Invariants: an object, its namespace and the lease that holds it are written in one transaction;
//! `HOLDERS` has exactly the keys of `CONTENT`, turned round.

use std::time::SystemTime;

use berth_ids::{Digest, Labels};
use berth_store::{Table, Write};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::scope::Scope;

/// Blobs, by namespace and digest.
pub const CONTENT: Table<(String, String), Blob> = Table::new("content");
/// Which namespaces have a blob, by digest and namespace. The value is the blob's size.
pub const HOLDERS: Table<(String, String), u64> = Table::new("content.holders");
/// Blobs that were put at the process of others which keeps them, by digest.
pub const THERE: Table<String, ()> = Table::new("content.there");
/// Images, by namespace and name.
pub const IMAGES: Table<(String, String), Image> = Table::new("images");
/// Namespaces, by name.
pub const NAMESPACES: Table<String, Space> = Table::new("namespaces");
/// Namespaces around which the neighbours may have put up fences, by name.
pub const FENCED: Table<String, ()> = Table::new("namespaces.fenced");
/// Leases, by namespace and id.
pub const LEASES: Table<(String, String), Lease> = Table::new("leases");
/// What leases hold of this service, by namespace, lease and [`Hold::key`].
pub const HOLDS: Table<(String, String, String), Hold> = Table::new("leases.holds");
/// Facts about this store, by name.
pub const META: Table<String, String> = Table::new("meta");

/// A blob in one namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Blob {
    /// Bytes.
    pub size: u64,
    /// When the namespace got it.
    pub created: SystemTime,
    /// When its labels changed last.
    pub updated: SystemTime,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
}

/// What an image names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The media type of the content.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Free annotations.
    #[serde(default)]
    pub annotations: Labels,
}

impl Descriptor {
    /// Checks what a request says of a target, in containerd's order and words.
    ///
    /// # Errors
    /// [`Error::TargetDigest`], [`Error::Required`].
    pub fn new(
        media_type: String,
        digest: String,
        size: u64,
        mut annotations: Labels,
    ) -> Result<Self> {
        let digest = digest.parse().map_err(|error| match error {
            berth_ids::Error::Digest { digest, fault } => Error::TargetDigest { digest, fault },
            other => other.into(),
        })?;
        annotations.retain(|_, value| !value.is_empty());
        let target = Self { media_type, digest, size, annotations };
        target.validate()?;
        Ok(target)
    }

    /// Checks that nothing is missing.
    ///
    /// # Errors
    /// [`Error::Required`].
    pub fn validate(&self) -> Result<()> {
        if self.size == 0 {
            return Err(Error::Required("target.Size must be greater than zero"));
        }
        if self.media_type.is_empty() {
            return Err(Error::Required("target.MediaType must be set"));
        }
        Ok(())
    }
}

/// An image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    /// What it names.
    pub target: Descriptor,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// When it was made.
    pub created: SystemTime,
    /// When it was changed last.
    pub updated: SystemTime,
}

/// A namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Space {
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
}

/// A lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// Tells it from earlier ones of the same name.
    pub incarnation: u64,
    /// When it was made.
    pub created: SystemTime,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
}

/// Something that a lease holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hold {
    /// `content`, `images`, `ingests`.
    pub kind: String,
    /// The object's name in its kind.
    pub id: String,
}

impl Hold {
    /// Names an object.
    #[must_use]
    pub fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }

    /// The last part of the hold's key.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {}", self.kind, self.id)
    }
}

/// Makes the scope's namespace exist and, under its lease, records the holds.
///
/// # Errors
/// [`Error::LeaseMissing`], [`Error::Store`].
pub fn enter(txn: &Write, scope: &Scope, holds: &[Hold]) -> Result<()> {
    let namespace = scope.namespace.as_str();
    if txn.get(&NAMESPACES, namespace)?.is_none() {
        txn.put(&NAMESPACES, namespace, &Space::default())?;
    }
    let Some(lease) = &scope.lease else { return Ok(()) };
    if txn.get(&LEASES, &(namespace, lease))?.is_none() {
        return Err(Error::LeaseMissing(lease.clone()));
    }
    for hold in holds {
        txn.put(&HOLDS, &(namespace, lease.as_str(), hold.key().as_str()), hold)?;
    }
    Ok(())
}

/// Takes the hold of the scope's lease away, if there is one.
///
/// # Errors
/// [`Error::Store`].
pub fn release(txn: &Write, scope: &Scope, hold: &Hold) -> Result<()> {
    if let Some(lease) = &scope.lease {
        let key = (scope.namespace.as_str(), lease.as_str(), hold.key());
        txn.delete(&HOLDS, &(key.0, key.1, key.2.as_str()))?;
    }
    Ok(())
}

/// Removes a blob from a namespace; answers whether it was there.
///
/// # Errors
/// [`Error::Store`].
pub fn drop_blob(txn: &Write, namespace: &str, digest: &str) -> Result<bool> {
    txn.delete(&HOLDERS, &(digest, namespace))?;
    Ok(txn.delete(&CONTENT, &(namespace, digest))?)
}

/// Deletes a lease with all its holds; answers whether it was there.
///
/// # Errors
/// [`Error::Store`].
pub fn drop_lease(txn: &Write, namespace: &str, id: &str) -> Result<bool> {
    for hold in txn.range(&HOLDS, (namespace, id))? {
        let ((_, _, key), _) = hold?;
        txn.delete(&HOLDS, &(namespace, id, key.as_str()))?;
    }
    Ok(txn.delete(&LEASES, &(namespace, id))?)
}
