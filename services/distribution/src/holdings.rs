//! What images a node holds, and how much of each: what is shown to others of this node.
//!
//! Owns: how an image's documents are followed to its blobs, and what is remembered of documents, which
//! never change. Must not know: who asks; nothing here is written.
//!
//! Invariant: whatever a document says, the work for one image is bounded ([`look`]).

mod documents;
mod look;

use std::collections::VecDeque;

use berth_ids::{Digest, Namespace};

use crate::content::Content;
use crate::error::Result;
use crate::records::{Descriptor, IMAGES, Image};
use crate::shared::Shared;
use documents::Documents;

pub use documents::MAX_LAYERS;

/// Names of images.
#[derive(Clone, Debug)]
pub enum Asked {
    /// All of them, of all namespaces.
    All,
    /// Those of a namespace.
    Namespace(Namespace),
    /// These. What is not there is left out.
    These(Vec<(Namespace, String)>),
}

/// An image that is there by name.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
    /// What it names.
    pub target: Descriptor,
}

/// What there is of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes of its blobs that the namespace has, whatever machine they are for.
    pub size: u64,
    /// Manifest, configuration and layers of this machine's platform are all there.
    pub complete: bool,
    /// That platform's layers, the lowest first, at most [`MAX_LAYERS`]. Empty if the manifest is not
    /// there, cannot be read or has more.
    pub layers: Vec<Digest>,
    /// Places in `layers` of those that are not there.
    pub missing: Vec<u32>,
}

/// Looks into the images of this node. Clones share what they remember.
#[derive(Clone)]
pub struct Holdings {
    content: Content,
    documents: Documents,
}

impl Holdings {
    /// Of the images whose blobs these are.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self { content, documents: Documents::default() }
    }

    /// The images that are asked for, by namespace and name. What they hold is looked up one by one
    /// ([`Holdings::of`]).
    ///
    /// # Errors
    /// [`crate::Error::Store`].
    pub async fn named(&self, asked: Asked) -> Result<VecDeque<Named>> {
        let names = move |shared: &Shared| {
            shared.store.read(|txn| match asked {
                Asked::All => txn.range(&IMAGES, ())?.map(|record| named(record?)).collect(),
                Asked::Namespace(namespace) => {
                    let records = txn.range(&IMAGES, (namespace.as_str(),))?;
                    records.map(|record| named(record?)).collect()
                }
                Asked::These(keys) => {
                    let mut found = VecDeque::new();
                    for (namespace, name) in keys {
                        let image = txn.get(&IMAGES, &(namespace.as_str(), name.as_str()))?;
                        let target = image.map(|image| image.target);
                        found.extend(target.map(|target| Named { namespace, name, target }));
                    }
                    Ok(found)
                }
            })
        };
        self.content.0.blocking("list holdings", names).await
    }

    /// What there is of an image now.
    ///
    /// # Errors
    /// [`crate::Error::Store`], and what a content store of others says.
    pub async fn of(&self, image: &Named) -> Result<Held> {
        look::Look::new(self, image).held().await
    }
}

fn named(record: ((String, String), Image)) -> Result<Named> {
    let ((namespace, name), image) = record;
    Ok(Named { namespace: namespace.parse()?, name, target: image.target })
}
