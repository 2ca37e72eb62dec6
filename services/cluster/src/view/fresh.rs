//! What comes from etcd, looked at before anything is done with it.

use crate::keys::{Held, Kind, Layout};
use crate::names::NodeName;
use crate::peers::etcd::Entry;
use crate::peers::stored;
use crate::{Error, Result};

/// A key that names something of the right kind.
pub(super) struct Name {
    pub node: NodeName,
    pub held: Option<Held>,
}

/// A key and its value, both found to be what berth writes.
pub(super) struct Fresh {
    pub name: Name,
    pub revision: i64,
    /// As berth itself writes it: what it does not know is not kept.
    pub value: Vec<u8>,
}

impl Name {
    /// What a key of etcd names.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn read(layout: &Layout, kind: Kind, key: &[u8]) -> Result<Self> {
        let (node, held) = layout.parse(key)?;
        let of = held.as_ref().map_or(Kind::Nodes, |held| held.kind);
        if of != kind {
            let key = String::from_utf8_lossy(key).chars().take(160).collect();
            return Err(Error::Unreadable { key, why: format!("it is none of {}", kind.name()) });
        }
        Ok(Self { node, held })
    }

    /// The same in parts.
    pub fn key(&self) -> super::Key<'_> {
        let (namespace, name) =
            self.held.as_ref().map_or(("", ""), |held| (&*held.namespace, &*held.name));
        super::Key { node: self.node.as_str(), namespace, name }
    }
}

impl Fresh {
    /// What lies in etcd.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn read(layout: &Layout, kind: Kind, entry: &Entry) -> Result<Self> {
        let name = Name::read(layout, kind, &entry.key)?;
        let object = stored::decode(kind, &entry.key, &entry.value)?;
        Ok(Self { name, revision: entry.modified, value: stored::encode(&object) })
    }
}
