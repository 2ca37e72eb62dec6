//! A table's name and types, and how its values become bytes.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::key::Key;

pub(crate) type Definition = redb::TableDefinition<'static, &'static [u8], &'static [u8]>;

/// A table of values `V` under keys `K`. Made once, as a constant:
///
/// ```
/// # use berth_store::Table;
/// /// Labels of namespaces, by name.
/// const LABELS: Table<(String, String), String> = Table::new("labels");
/// ```
///
/// Values are MessagePack with named fields: a field may be added with `#[serde(default)]`.
#[derive(Debug)]
pub struct Table<K, V> {
    name: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Serialize + DeserializeOwned> Table<K, V> {
    /// Names a table. The name is part of the file's format.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn definition(&self) -> Definition {
        Definition::new(self.name)
    }

    pub(crate) fn to_bytes(&self, value: &V) -> Result<Vec<u8>, Error> {
        rmp_serde::to_vec_named(value).map_err(|error| match error {
            // They are written into memory: nothing else can be wrong with that.
            rmp_serde::encode::Error::InvalidValueWrite(_) => Error::NoMemory(self.name),
            error => Error::Encode { table: self.name, why: error.to_string() },
        })
    }

    pub(crate) fn value(&self, bytes: &[u8]) -> Result<V, Error> {
        rmp_serde::from_slice(bytes).map_err(|error| self.undecodable(error.to_string()))
    }

    pub(crate) fn record(&self, key: &[u8], value: &[u8]) -> Result<(K, V), Error> {
        Ok((self.key(key)?, self.value(value)?))
    }

    pub(crate) fn key(&self, key: &[u8]) -> Result<K, Error> {
        let shown = || format!("key {:?}", String::from_utf8_lossy(key));
        K::decode(key).ok_or_else(|| self.undecodable(shown()))
    }

    pub(crate) fn read_failed(&self, source: impl Into<redb::Error>) -> Error {
        Error::Read { table: self.name, source: source.into() }
    }

    pub(crate) fn write_failed(&self, source: impl Into<redb::Error>) -> Error {
        Error::Write { table: self.name, source: source.into() }
    }

    fn undecodable(&self, why: String) -> Error {
        Error::Decode { table: self.name, why }
    }
}
