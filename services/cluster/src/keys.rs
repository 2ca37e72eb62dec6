//! Where things lie in etcd.
//!
//! ```text
//! /berth/CLUSTER/v1/nodes/NODE
//! /berth/CLUSTER/v1/images/NODE/NAMESPACE/NAME
//! /berth/CLUSTER/v1/containers/NODE/NAMESPACE/ID
//! ```
//!
//! The kind comes before the node: whoever wants images of all nodes follows one prefix and gets nothing
//! else. A name is the rest of its key, slashes included.

use std::sync::Arc;

use berth_ids::{MAX_IDENTIFIER, validate_identifier};

use crate::names::{ClusterName, NodeName};
use crate::{Error, Result};

/// The longest name of an object that is published, in bytes. Longer ones are counted as left out.
pub const MAX_OBJECT_NAME: usize = 512;

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Nodes themselves.
    Nodes,
    /// Images in namespaces.
    Images,
    /// Containers with their tasks, in namespaces.
    Containers,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Nodes, Kind::Images, Kind::Containers];

    /// Its name in keys and texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Nodes => "nodes",
            Kind::Images => "images",
            Kind::Containers => "containers",
        }
    }
}

/// Names something that a node holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Held {
    /// What it is; never [`Kind::Nodes`].
    pub kind: Kind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name, at most [`MAX_OBJECT_NAME`] bytes.
    pub name: Arc<str>,
}

impl Held {
    /// A name that can be a key.
    ///
    /// # Errors
    /// [`Error::Unpublishable`] when it is too long or empty, or the namespace is none.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Result<Self> {
        let wrong = |why| Error::Unpublishable { kind: kind.name(), name: start(name), why };
        debug_assert!(namespace.len() <= MAX_IDENTIFIER || validate_identifier(namespace).is_err());
        validate_identifier(namespace).map_err(|_| wrong("its namespace is no name"))?;
        if name.is_empty() || name.len() > MAX_OBJECT_NAME {
            return Err(wrong("its name is empty or has more than 512 bytes"));
        }
        Ok(Self { kind, namespace: namespace.into(), name: name.into() })
    }
}

fn start(name: &str) -> String {
    name.chars().take(80).collect()
}

/// The keys of one cluster. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    prefix: Arc<str>,
}

impl Layout {
    /// Those of this cluster.
    #[must_use]
    pub fn new(cluster: &ClusterName) -> Self {
        Self { prefix: format!("/berth/{cluster}/v1/").into() }
    }

    /// What all of them begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a node.
    #[must_use]
    pub fn node(&self, node: &NodeName) -> String {
        format!("{}nodes/{node}", self.prefix)
    }

    /// The key of something that a node holds.
    #[must_use]
    pub fn held(&self, node: &NodeName, held: &Held) -> String {
        let Held { kind, namespace, name } = held;
        format!("{}{}/{node}/{namespace}/{name}", self.prefix, kind.name())
    }

    /// What the keys of a kind begin with.
    #[must_use]
    pub fn of_kind(&self, kind: Kind) -> String {
        format!("{}{}/", self.prefix, kind.name())
    }

    /// What the keys of all that a node holds of a kind begin with.
    #[must_use]
    pub fn of_node(&self, kind: Kind, node: &NodeName) -> String {
        format!("{}{}/{node}/", self.prefix, kind.name())
    }

    /// What a key names. Nothing is taken for granted: keys come from etcd.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when it is none of this cluster's.
    pub fn parse(&self, key: &[u8]) -> Result<(NodeName, Option<Held>)> {
        let wrong = || Error::Unreadable {
            key: start(&String::from_utf8_lossy(key)),
            why: "it is no key of this cluster".into(),
        };
        let text = std::str::from_utf8(key).map_err(|_| wrong())?;
        let rest = text.strip_prefix(&*self.prefix).ok_or_else(wrong)?;
        let (kind, rest) = rest.split_once('/').ok_or_else(wrong)?;
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or_else(wrong)?;
        if kind == Kind::Nodes {
            return Ok((rest.parse().map_err(|_| wrong())?, None));
        }
        let (node, rest) = rest.split_once('/').ok_or_else(wrong)?;
        let (namespace, name) = rest.split_once('/').ok_or_else(wrong)?;
        let held = Held::new(kind, namespace, name).map_err(|_| wrong())?;
        Ok((node.parse().map_err(|_| wrong())?, Some(held)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new(&"c".parse().unwrap())
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        let node: NodeName = "n-1".parse().unwrap();
        let key = layout().node(&node);
        assert_eq!(key, "/berth/c/v1/nodes/n-1");
        assert_eq!(layout().parse(key.as_bytes()).unwrap(), (node.clone(), None));
        let held = Held::new(Kind::Images, "k8s.io", "localhost:5000/a/b:1").unwrap();
        let key = layout().held(&node, &held);
        assert_eq!(key, "/berth/c/v1/images/n-1/k8s.io/localhost:5000/a/b:1");
        assert!(key.starts_with(&layout().of_node(Kind::Images, &node)));
        assert!(key.starts_with(&layout().of_kind(Kind::Images)));
        assert_eq!(layout().parse(key.as_bytes()).unwrap(), (node, Some(held)));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for key in [
            &b""[..],
            b"/berth/c/v1/nodes/",
            b"/berth/c/v1/nodes/a/b",
            b"/berth/d/v1/nodes/a",
            b"/berth/c/v1/snapshots/a/b/c",
            b"/berth/c/v1/images/a/b",
            b"/berth/c/v1/images/a/b/",
            b"/berth/c/v1/images/a/b c/d",
            b"/berth/c/v1/nodes/\xff",
        ] {
            assert!(layout().parse(key).is_err(), "{}", String::from_utf8_lossy(key));
        }
        let long = "x".repeat(513);
        let error = Held::new(Kind::Images, "default", &long).unwrap_err().to_string();
        assert!(error.contains("more than 512 bytes") && error.len() < 300, "{error}");
    }
}
