//! Reads of one consistent state, and the writes of one commit's closure.

use std::cell::Cell;
use std::ops::Bound;

use redb::{ReadableTable, TableError, TableHandle};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::key::{ESCAPE, Key, KeyRef, Prefix};
use crate::meta::{META, SCHEMA};
use crate::table::{Definition, Table};

type OpenTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// One consistent state of the store.
pub struct Read(pub(crate) redb::ReadTransaction);

impl Read {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Decode`].
    pub fn get<K: Key, V: Serialize + DeserializeOwned, Q: KeyRef<K> + ?Sized>(
        &self,
        table: &Table<K, V>,
        key: &Q,
    ) -> Result<Option<V>, Error> {
        let Some(open) = self.open(table)? else { return Ok(None) };
        let found = open.get(key.encode().as_slice()).map_err(|e| table.read_failed(e))?;
        found.map(|guard| table.value(guard.value())).transpose()
    }

    /// The records whose keys begin with `prefix`, in the keys' order, read as they are asked for.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Decode`], also as an item.
    pub fn range<K: Key, V: Serialize + DeserializeOwned, P: Prefix<K>>(
        &self,
        table: &Table<K, V>,
        prefix: P,
    ) -> Result<impl Iterator<Item = Result<(K, V), Error>>, Error> {
        let bytes = prefix.encode();
        let end = end(&bytes);
        let range = match self.open(table)? {
            Some(open) => {
                let bounds = bounds(&bytes, &end);
                Some(open.range::<&[u8]>(bounds).map_err(|e| table.read_failed(e))?)
            }
            None => None,
        };
        let name = Table::<K, V>::new(table.name());
        Ok(range.into_iter().flatten().map(move |item| {
            let (key, value) = item.map_err(|e| name.read_failed(e))?;
            name.record(key.value(), value.value())
        }))
    }

    /// Hands every key of a table to `each`, in their order, without reading the values.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Decode`].
    pub fn keys<K: Key, V: Serialize + DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        mut each: impl FnMut(K),
    ) -> Result<(), Error> {
        let Some(open) = self.open(table)? else { return Ok(()) };
        for item in open.range::<&[u8]>(..).map_err(|e| table.read_failed(e))? {
            let (key, _) = item.map_err(|e| table.read_failed(e))?;
            each(table.key(key.value())?);
        }
        Ok(())
    }

    fn open<K: Key, V: Serialize + DeserializeOwned>(
        &self,
        table: &Table<K, V>,
    ) -> Result<Option<OpenTable>, Error> {
        let definition: Definition = table.definition();
        match self.0.open_table(definition) {
            Ok(open) => Ok(Some(open)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(table.read_failed(error)),
        }
    }
}

/// The state that a commit's closure sees and changes: its own writes included.
pub struct Write {
    txn: redb::WriteTransaction,
    dirty: Cell<bool>,
}

impl Write {
    pub(crate) fn new(txn: redb::WriteTransaction) -> Self {
        Self { txn, dirty: Cell::new(false) }
    }

    /// Whether something was written since the last call.
    pub(crate) fn take_dirty(&self) -> bool {
        self.dirty.replace(false)
    }

    pub(crate) fn into_inner(self) -> redb::WriteTransaction {
        self.txn
    }

    /// Writes what the store keeps about itself as it is.
    pub(crate) fn again(&self) -> Result<(), Error> {
        let failed = |source: redb::Error| Error::Write { table: META.name(), source };
        let mut meta = self.txn.open_table(META).map_err(|e| failed(e.into()))?;
        let found = meta.get(SCHEMA).map_err(|e| failed(e.into()))?.map(|found| found.value());
        self.dirty.set(true);
        if let Some(version) = found {
            meta.insert(SCHEMA, version).map_err(|e| failed(e.into()))?;
        }
        Ok(())
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Decode`].
    pub fn get<K: Key, V: Serialize + DeserializeOwned, Q: KeyRef<K> + ?Sized>(
        &self,
        table: &Table<K, V>,
        key: &Q,
    ) -> Result<Option<V>, Error> {
        let open = self.open(table)?;
        let found = open.get(key.encode().as_slice()).map_err(|e| table.read_failed(e))?;
        found.map(|guard| table.value(guard.value())).transpose()
    }

    /// The records whose keys begin with `prefix`, in the keys' order. All are read at once, so
    /// that the closure may change the table while it goes through them.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Decode`], also as an item.
    pub fn range<K: Key, V: Serialize + DeserializeOwned, P: Prefix<K>>(
        &self,
        table: &Table<K, V>,
        prefix: P,
    ) -> Result<impl Iterator<Item = Result<(K, V), Error>> + use<K, V, P>, Error> {
        let bytes = prefix.encode();
        let end = end(&bytes);
        let open = self.open(table)?;
        let mut records = Vec::new();
        for item in open.range::<&[u8]>(bounds(&bytes, &end)).map_err(|e| table.read_failed(e))? {
            let (key, value) = item.map_err(|e| table.read_failed(e))?;
            records.push(table.record(key.value(), value.value()));
        }
        Ok(records.into_iter())
    }

    /// Puts `value` under `key`, in place of what was there.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Encode`].
    pub fn put<K: Key, V: Serialize + DeserializeOwned, Q: KeyRef<K> + ?Sized>(
        &self,
        table: &Table<K, V>,
        key: &Q,
        value: &V,
    ) -> Result<(), Error> {
        let bytes = table.to_bytes(value)?;
        let mut open = self.open(table)?;
        self.dirty.set(true);
        open.insert(key.encode().as_slice(), bytes.as_slice())
            .map_err(|e| table.write_failed(e))?;
        Ok(())
    }

    /// Removes what is under `key`; answers whether something was.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn delete<K: Key, V: Serialize + DeserializeOwned, Q: KeyRef<K> + ?Sized>(
        &self,
        table: &Table<K, V>,
        key: &Q,
    ) -> Result<bool, Error> {
        let mut open = self.open(table)?;
        self.dirty.set(true);
        let was = open.remove(key.encode().as_slice()).map_err(|e| table.write_failed(e))?;
        Ok(was.is_some())
    }

    fn open<K: Key, V: Serialize + DeserializeOwned>(
        &self,
        table: &Table<K, V>,
    ) -> Result<redb::Table<'_, &'static [u8], &'static [u8]>, Error> {
        self.txn.open_table(table.definition()).map_err(|e| table.write_failed(e))
    }
}

/// The first bytes behind all keys that begin with `prefix`. A prefix ends in the separator, and FF
/// after it would be a NUL inside a longer part, which is another part.
fn end(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[ESCAPE]].concat()
}

fn bounds<'a>(prefix: &'a [u8], end: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(prefix), Bound::Excluded(end))
}
