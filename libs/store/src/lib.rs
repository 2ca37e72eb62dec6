//! One service's records in one redb file.
//!
//! Owns: opening (a damaged file is refused, never taken for an empty one), the schema's version
//! and its migrations, typed tables, consistent reads, and the one commit function: many callers,
//! one flush. Must not know: what is stored, gRPC, or any other service's file.
//!
//! Invariants:
//! - [`Store::commit`] answers `Ok` only after the file was flushed; what it acknowledged survives
//!   kill -9 and, as far as the disk keeps its word, a power cut.
//! - A closure's writes are kept whole or not at all, and only if the closure answered `Ok`.
//! - Closures run on the writer's thread, one at a time, perhaps more than once, in the order in
//!   which they were queued: each sees all that was acknowledged before it was queued.
//!
//! docs/adr/0004-local-store.md says why redb, why one writer, and what was measured.

mod commit;
mod error;
pub mod failpoint;
mod file;
mod holder;
mod key;
mod meta;
mod table;
mod txn;

pub use commit::Store;
pub use error::Error;
pub use file::{Migration, Options, refuse_lost};
pub use key::{Key, KeyRef, Prefix};
pub use table::Table;
pub use txn::{Read, Write};
