//! What nodes show of themselves, as this service's domain knows it.
//!
//! Owns: the shapes and bounds of a node, an image and a container. Must not know: how they look on the
//! wire or in etcd ([`crate::peers::stored`]).

mod container;
mod image;
mod node;

pub use container::{Container, MAX_LABELS, MAX_LABELS_BYTES, TaskState};
pub use image::{Image, MAX_LAYERS};
pub use node::{Capacity, Node, Pressure, Published, Resource, ServiceHealth};

use crate::keys::Kind;

/// The largest value that is written or read, in bytes.
pub const MAX_VALUE: usize = 16 << 10;

/// Any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A node.
    Node(Box<Node>),
    /// An image.
    Image(Image),
    /// A container with its task.
    Container(Container),
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Object::Node(_) => Kind::Nodes,
            Object::Image(_) => Kind::Images,
            Object::Container(_) => Kind::Containers,
        }
    }
}
