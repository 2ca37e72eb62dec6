//! What is known of images, so that a list of a thousand reads each of them once: blobs never change.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::documents::Documents;
use super::user::User;
use crate::peers::Node;
use crate::{Error, Result};

/// So many are remembered. The others are read each time.
const MAX_KNOWN: usize = 16 << 10;

/// What lists tell of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its config's name, by which kubelets call it.
    pub id: String,
    /// Bytes of manifest, config and layers.
    pub size: u64,
    /// The snapshot of all its layers; empty without any.
    pub chain: String,
    /// Whom it runs as.
    pub user: Option<User>,
}

impl Facts {
    /// Of what was read.
    #[must_use]
    pub fn new(documents: &Documents) -> Self {
        Self {
            id: documents.config.to_string(),
            size: documents.size,
            chain: documents.chain().pop().unwrap_or_default(),
            user: User::of(&documents.run.user),
        }
    }
}

/// Facts by the digest that records point at. `None` is no image and never becomes one.
#[derive(Debug, Default)]
pub struct Known(Mutex<HashMap<String, Option<Arc<Facts>>>>);

impl Known {
    /// Of one target. `None` of what is no image for this machine, or is not all here.
    ///
    /// # Errors
    /// [`Error::Peer`].
    pub async fn of(&self, node: &Node, target: &str) -> Result<Option<Arc<Facts>>> {
        if let Some(known) = self.lock().get(target) {
            return Ok(known.clone());
        }
        let facts = match Documents::read(node, target).await {
            Ok(Some(documents)) => Some(Arc::new(Facts::new(&documents))),
            // The rest may come yet.
            Ok(None) => return Ok(None),
            Err(error @ (Error::Unreadable { .. } | Error::Invalid(_))) => {
                tracing::debug!(target, %error, "no image to kubelets");
                None
            }
            Err(error) => return Err(error),
        };
        let mut known = self.lock();
        if known.len() < MAX_KNOWN {
            known.insert(target.to_owned(), facts.clone());
        }
        Ok(facts)
    }

    /// Forgets what no record points at.
    pub fn keep(&self, targets: &HashSet<String>) {
        self.lock().retain(|target, _| targets.contains(target));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<Arc<Facts>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
