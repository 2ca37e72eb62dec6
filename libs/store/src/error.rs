//! What can go wrong with a store, and the code a caller sees.

use std::path::PathBuf;

use berth_errors::{Code, Coded, code_of_io};

/// Why a store did not open, read or commit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or the file could not be made or read.
    #[error("open store {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The failed call.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the file open.
    #[error(
        "store {path} is in use by another process{}, stop it or choose another root: unavailable",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who has it open, if that is to be seen.
        pid: Option<u32>,
    },
    /// The file is there but is not a whole store. It is left as it is.
    #[error(
        "store {path} is damaged ({why}); it was left as it is, restore it, or move its folder away: data loss"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb found.
        why: String,
    },
    /// The file was written by a newer version of the service.
    #[error(
        "store {path} has schema {found}, this program knows up to {known}, use the newer one: failed precondition"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version that the program was built for.
        known: u32,
    },
    /// The file is not there, and something is that only it knows.
    #[error(
        "store {path} is not there, and {folder} has what only it knows: put the store back, or move \
         {folder} away as well: data loss"
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// No migration leads from the file's version to the program's.
    #[error(
        "store {path} has schema {found} and no migration from it is known: failed precondition"
    )]
    NoMigration {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
    },
    /// A record could not be read from the file.
    #[error("read table {table:?}")]
    Read {
        /// The table.
        table: &'static str,
        /// What redb said.
        #[source]
        source: redb::Error,
    },
    /// A record could not be written to the transaction.
    #[error("write table {table:?}")]
    Write {
        /// The table.
        table: &'static str,
        /// What redb said.
        #[source]
        source: redb::Error,
    },
    /// A record's bytes are not what the table holds.
    #[error("decode a record of table {table:?}: {why}: data loss")]
    Decode {
        /// The table.
        table: &'static str,
        /// What does not fit.
        why: String,
    },
    /// A value could not be turned to bytes.
    #[error("encode a record of table {table:?}: {why}: internal")]
    Encode {
        /// The table.
        table: &'static str,
        /// What serde said.
        why: String,
    },
    /// There was no memory for the bytes of a value.
    #[error(
        "encode a record of table {0:?}: cannot allocate memory, raise the service's limit: \
         resource exhausted"
    )]
    NoMemory(&'static str),
    /// The group that the commit was in could not be flushed. Nothing of it was kept.
    #[error("commit {name}: {source}")]
    Commit {
        /// The commit's name.
        name: &'static str,
        /// What redb said, shared by all callers of the group.
        source: std::sync::Arc<redb::Error>,
    },
    /// The closure of a commit panicked. Nothing of it was kept.
    #[error("commit {name}: its closure panicked: internal")]
    Panicked {
        /// The commit's name.
        name: &'static str,
    },
    /// The store is closed, or could not be opened again after a failed flush.
    #[error("store is closed: unavailable")]
    Closed,
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Io { source, .. } => code_of_io(source),
            Error::InUse { .. } | Error::Closed => Code::Unavailable,
            Error::Damaged { .. } | Error::Decode { .. } | Error::Lost { .. } => Code::DataLoss,
            Error::NewerSchema { .. } | Error::NoMigration { .. } => Code::FailedPrecondition,
            Error::Read { source, .. } | Error::Write { source, .. } => code_of(source),
            Error::Commit { source, .. } => code_of(source),
            Error::NoMemory(_) => Code::ResourceExhausted,
            Error::Encode { .. } | Error::Panicked { .. } => Code::Internal,
        }
    }
}

fn code_of(error: &redb::Error) -> Code {
    match error {
        redb::Error::Io(io) => code_of_io(io),
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => Code::Unavailable,
        redb::Error::Corrupted(_) => Code::DataLoss,
        _ => Code::Internal,
    }
}
