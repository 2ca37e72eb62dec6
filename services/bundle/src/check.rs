//! Bundle's part of a check of the node: snapshots and their directories, what is staged and what
//! is in the trash, activations and their mounts.
//!
//! Owns: what of this is one check. Must not know: who asks, how each is compared.

use berth_check::{Asked, Checked, Finding, Look, Looked};

use crate::Error;
use crate::mounts::Activations;
use crate::snapshots::Snapshots;

/// A snapshot's directory that no record names.
pub const DIRECTORY_WITHOUT_RECORD: &str = "directory without snapshot";
/// A snapshot whose directory is gone.
pub const SNAPSHOT_LOST: &str = "snapshot without directory";
/// A snapshot whose parent has no record.
pub const PARENT_LOST: &str = "snapshot without parent";
/// A snapshot that counts other children than it has.
pub const CHILDREN_WRONG: &str = "snapshot's children";
/// A staged layer that nobody knows.
pub const STAGING_UNKNOWN: &str = "staged layer without pull";
/// What lies in the trash and is not being deleted.
pub const TRASH_LEFT: &str = "trash";
/// A directory of mounts that no activation has.
pub const MOUNTS_WITHOUT_RECORD: &str = "mounts without activation";
/// An activation whose mounts are gone.
pub const ACTIVATION_LOST: &str = "activation without mounts";

/// What is checked.
pub struct Bundle<'a> {
    /// Snapshots.
    pub snapshots: &'a Snapshots,
    /// Activated mounts.
    pub activations: &'a Activations,
}

impl Checked for Bundle<'_> {
    type Error = Error;

    async fn look(&self, _asked: Asked, look: Look<'_>) -> Result<Looked, Error> {
        let mut looked = self.snapshots.check(look.is_again()).await?;
        let mounts = self.activations.check().await?;
        looked.examined += mounts.examined;
        looked.findings.extend(mounts.findings);
        Ok(looked)
    }

    async fn mend(&self, finding: &Finding) -> Result<bool, Error> {
        match finding.kind {
            MOUNTS_WITHOUT_RECORD | ACTIVATION_LOST => self.activations.mend(finding).await,
            _ => self.snapshots.mend(finding).await,
        }
    }
}
