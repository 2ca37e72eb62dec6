//! The file itself: made whole or not at all, opened only when it is whole.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, ReadableDatabase};

use crate::holder::holder;
use crate::meta::{META, SCHEMA};
use crate::txn::Write;
use crate::{Error, failpoint};

/// How long another process may have the file still. A child that a killed service was making has
/// it, and its lock, until it is a program of its own.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most that redb may hold of the file in memory. The kernel's page cache holds the rest.
    pub cache_bytes: usize,
    /// The version of the tables that the program knows.
    pub schema: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 2 << 20, schema: 1 }
    }
}

/// Changes a store's tables from one schema to the next, in one transaction with the new version's
/// number.
#[derive(Clone, Copy)]
pub struct Migration {
    /// The version that it starts from. It leads to `from + 1`.
    pub from: u32,
    /// The change.
    pub run: fn(&Write) -> Result<(), Error>,
}

/// Refuses to go on where a store is not there, and one of `folders` has what only it knows: a new one
/// would take that for rests which nothing names. To be asked before it is opened.
///
/// # Errors
/// [`Error::Lost`]; [`Error::Io`] when one cannot be looked at.
pub fn refuse_lost(path: &Path, folders: impl Iterator<Item = PathBuf>) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    if path.try_exists().map_err(failed(path))? {
        return Ok(());
    }
    for folder in folders {
        let mut entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(failed(&folder))?,
        };
        if entries.next().is_some() {
            return Err(Error::Lost { path: path.to_owned(), folder });
        }
    }
    Ok(())
}

/// Where and how; kept to open the file again after a failed flush.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
}

impl Location {
    /// Opens the file, making it first where there is none, and brings its schema up to date.
    pub(crate) fn open(&self, migrations: &[Migration]) -> Result<Database, Error> {
        if !self.path.try_exists().map_err(|e| self.io(e))? {
            self.create()?;
        }
        let database = self.reopen()?;
        self.migrate(&database, migrations)?;
        Ok(database)
    }

    /// Opens a file that must be there. Blocks for as long as another process has it, five seconds at
    /// most.
    pub(crate) fn reopen(&self) -> Result<Database, Error> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.builder().open(&self.path).map_err(|e| self.refused(e)) {
                Err(Error::InUse { .. }) if Instant::now() < give_up => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(Error::InUse { path, .. }) => {
                    return Err(Error::InUse { pid: holder(&path), path });
                }
                opened => return opened,
            }
        }
    }

    fn builder(&self) -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(self.options.cache_bytes);
        builder
    }

    /// Makes the file beside its place and links it there, so that a file in its place is always
    /// whole: one that is empty or cut short was damaged later.
    fn create(&self) -> Result<(), Error> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(|e| self.io(e))?;
        let made = self.path.with_extension("new");
        let _ = fs_err::remove_file(&made);
        std::fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&made)
            .map_err(|e| self.io(e))?;
        let database = self.builder().create(&made).map_err(|e| self.refused(e))?;
        let txn = database.begin_write().map_err(|e| self.damaged(e))?;
        self.set_schema(&txn, self.options.schema)?;
        txn.commit().map_err(|e| self.damaged(e))?;
        drop(database);
        failpoint::file("store", "made");
        match std::fs::hard_link(&made, &self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.map_err(|e| self.io(e))?,
        }
        failpoint::file("store", "linked");
        fs_err::remove_file(&made).map_err(|e| self.io(e))?;
        fs_err::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| self.io(e))
    }

    fn migrate(&self, database: &Database, migrations: &[Migration]) -> Result<(), Error> {
        let known = self.options.schema;
        let mut found = self.schema(database)?;
        if found > known {
            return Err(Error::NewerSchema { path: self.path.clone(), found, known });
        }
        while found < known {
            let next = migrations.iter().find(|m| m.from == found);
            let Some(next) = next else {
                return Err(Error::NoMigration { path: self.path.clone(), found });
            };
            let txn = Write::new(database.begin_write().map_err(|e| self.damaged(e))?);
            (next.run)(&txn)?;
            let txn = txn.into_inner();
            found += 1;
            self.set_schema(&txn, found)?;
            txn.commit().map_err(|e| self.damaged(e))?;
        }
        Ok(())
    }

    fn schema(&self, database: &Database) -> Result<u32, Error> {
        let txn = database.begin_read().map_err(|e| self.damaged(e))?;
        let table = txn.open_table(META).map_err(|e| self.damaged(e))?;
        let found = table.get(SCHEMA).map_err(|e| self.damaged(e))?;
        found.map(|v| v.value()).ok_or_else(|| self.damaged_for("it has no schema version"))
    }

    fn set_schema(&self, txn: &redb::WriteTransaction, version: u32) -> Result<(), Error> {
        let mut table = txn.open_table(META).map_err(|e| self.damaged(e))?;
        table.insert(SCHEMA, version).map_err(|e| self.damaged(e))?;
        Ok(())
    }

    fn refused(&self, error: DatabaseError) -> Error {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                Error::InUse { path: self.path.clone(), pid: None }
            }
            DatabaseError::Storage(redb::StorageError::Io(source))
                if source.kind() != std::io::ErrorKind::InvalidData
                    && source.kind() != std::io::ErrorKind::UnexpectedEof =>
            {
                self.io(source)
            }
            other => self.damaged_for(&other.to_string()),
        }
    }

    fn damaged(&self, error: impl Into<redb::Error>) -> Error {
        match error.into() {
            redb::Error::Io(source) => self.io(source),
            other => self.damaged_for(&other.to_string()),
        }
    }

    fn damaged_for(&self, why: &str) -> Error {
        Error::Damaged { path: self.path.clone(), why: why.to_owned() }
    }

    fn io(&self, source: std::io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}
