//! Distribution's part of a check of the node: blobs and their files, ingests and their folders,
//! and what the store says twice.
//!
//! Owns: what is an orphan here and what a repair does about it. Must not know: who asks.
//!
//! No repair deletes what a record names: a blob whose file is lost or damaged keeps its record,
//! whose labels may be all that keeps other blobs from being collected.

mod blobs;
mod ingests;
mod rows;

use berth_check::{Asked, Checked, Finding, Look, Looked};

use crate::Distribution;
use crate::error::Error;

/// A file that no namespace has as a blob.
pub const BLOB_WITHOUT_RECORD: &str = "blob without record";
/// A blob without its file.
pub const BLOB_LOST: &str = "blob without file";
/// A blob whose file has other bytes.
pub const BLOB_DAMAGED: &str = "damaged blob";
/// What is no blob, among blobs.
pub const NO_BLOB: &str = "no blob";
/// A folder of an ingest that nobody knows.
pub const INGEST_UNKNOWN: &str = "folder without ingest";
/// An ingest without its folder.
pub const INGEST_LOST: &str = "ingest without folder";
/// What `CONTENT` and `HOLDERS` do not say alike.
pub const HOLDER_WRONG: &str = "blob's holder";
/// What a lease holds that is not there.
pub const HOLD_WITHOUT_LEASE: &str = "hold without lease";

impl Checked for Distribution {
    type Error = Error;

    async fn look(&self, asked: Asked, look: Look<'_>) -> Result<Looked, Error> {
        let mut looked = blobs::look(&self.content, asked.digests, look).await?;
        for part in [ingests::look(&self.content).await?, rows::look(&self.content).await?] {
            looked.examined += part.examined;
            looked.findings.extend(part.findings);
        }
        Ok(looked)
    }

    async fn mend(&self, finding: &Finding) -> Result<bool, Error> {
        match finding.kind {
            BLOB_WITHOUT_RECORD => blobs::delete(&self.content, finding).await,
            INGEST_UNKNOWN | INGEST_LOST => ingests::mend(&self.content, finding).await,
            HOLDER_WRONG | HOLD_WITHOUT_LEASE => rows::mend(&self.content, finding).await,
            _ => Ok(false),
        }
    }
}
