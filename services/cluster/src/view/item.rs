//! Objects as views keep them: small, shared, and named by what their keys say.
//!
//! An object's value stays as it was written (checked, and without what berth does not write) and is read
//! when somebody asks for what it says: most never are.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

use crate::keys::Kind;
use crate::objects::Object;
use crate::peers::stored;

/// What an object takes beside its value and its own name, in bytes, about.
pub(super) const FIXED: usize = 144;

/// What an object is called: in the order in which views list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<'a> {
    /// The node's name.
    pub node: &'a str,
    /// Empty for nodes.
    pub namespace: &'a str,
    /// Empty for nodes.
    pub name: &'a str,
}

/// One object, as it was at one revision.
#[derive(Clone, Debug)]
pub struct Item {
    pub(super) node: Arc<str>,
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) revision: i64,
    /// The number of the change that brought it; 0: it was there when the view was first read.
    pub(super) put: u64,
    /// None: it is gone, and etcd does not say any more what it was.
    pub(super) value: Option<Arc<[u8]>>,
}

impl Item {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> Key<'_> {
        Key { node: &self.node, namespace: &self.namespace, name: &self.name }
    }

    /// The revision at which it was written.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Its value as [`stored::encode`] makes it; None when it is gone and not known any more.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// What its value says, of an object of this kind.
    #[must_use]
    pub fn object(&self, kind: Kind) -> Option<Object> {
        // It was read before it was kept.
        stored::decode(kind, b"", self.value()?).ok()
    }

    /// Bytes of it that a message has, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let key = self.node.len() + self.namespace.len() + self.name.len();
        32 + key + self.value().map_or(0, <[u8]>::len)
    }
}

/// What has a name: what is kept, and what it is looked for by.
pub(super) trait Named {
    fn named(&self) -> Key<'_>;
}

impl Named for Key<'_> {
    fn named(&self) -> Key<'_> {
        *self
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.named() == other.named()
    }
}

impl Eq for dyn Named + '_ {}

impl PartialOrd for dyn Named + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Named + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.named().cmp(&other.named())
    }
}

/// An item in the order of names.
#[derive(Clone, Debug)]
pub(super) struct ByKey(pub Arc<Item>);

impl Named for ByKey {
    fn named(&self) -> Key<'_> {
        self.0.key()
    }
}

impl<'a> Borrow<dyn Named + 'a> for ByKey {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.named() == other.named()
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.named().cmp(&other.named())
    }
}
