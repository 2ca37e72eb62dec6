//! The image that a container is made of.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_errors::{Code, Coded};
use berth_runtime_spec::ImageConfig;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::documents::Documents;
use super::index::{self, Entry};
use super::user::User;
use super::{Images, Parts};
use crate::peers::images;
use crate::{Error, Result};

/// How long whoever asks about a container waits for the names of its image.
const PATIENCE: Duration = Duration::from_secs(2);
/// For so long nobody waits for them again, after somebody has waited in vain.
const AGAIN: Duration = Duration::from_secs(5);

/// When somebody has asked last for names in vain.
#[derive(Debug, Default)]
pub(super) struct Unanswered(Mutex<Option<Instant>>);

impl Unanswered {
    fn note(&self) {
        *self.last() = Some(Instant::now());
    }

    fn is_recent(&self) -> bool {
        self.last().is_some_and(|at| at.elapsed() < AGAIN)
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        // Each change is one move.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An image that is here.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Its config's digest.
    pub id: String,
    /// The name by which it was meant, or else one that it has.
    pub name: String,
    /// The digest that this name points at.
    pub target: String,
    /// The snapshot of all its layers; empty without any.
    pub chain: String,
    /// How to run it.
    pub config: ImageConfig,
    /// Bytes of manifest, config and layers, as they are fetched.
    pub size: u64,
    /// Whom it runs as, if its number is one that can be.
    pub user: Option<User>,
}

/// What an image is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The first of its names with a tag.
    pub tag: Option<String>,
    /// The first of those with a digest.
    pub digest: Option<String>,
}

impl Images {
    /// What is called by names that point at this digest, as a container's image does which is asked for often: no
    /// other record is read. Nothing where that cannot be said soon: nobody else waits then for a while.
    pub async fn names(&self, target: &str) -> Names {
        let Parts { node, unanswered, .. } = &*self.0;
        if unanswered.is_recent() {
            return Names::default();
        }
        let late = |_| Error::Deadline("list images".to_owned());
        let asked = timeout(PATIENCE, images::pointing_at(node, target)).await;
        let records = match asked.map_err(late).flatten() {
            Ok(records) => records,
            Err(error) => {
                if matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded) {
                    unanswered.note();
                }
                let error = berth_errors::chain(&error);
                tracing::warn!(target, error, "ask for names of an image: those on record do");
                return Names::default();
            }
        };
        let (tags, digests) = index::names(&records);
        Names { tag: tags.into_iter().next(), digest: digests.into_iter().next() }
    }

    /// The image that is meant: by an id, by a name of docker's, by a part of an id.
    ///
    /// # Errors
    /// [`crate::Error::Peer`], [`crate::Error::Ambiguous`]; [`crate::Error::Refused`] for an empty name.
    pub async fn resolve(&self, text: &str) -> Result<Option<Resolved>> {
        let index = self.index().await?;
        let Some(entry) = index.find(text)? else { return Ok(None) };
        let Some(record) = entry.record(text) else { return Ok(None) };
        let target = record.target.digest.clone();
        let Some(documents) = Documents::read(&self.0.node, &target).await? else {
            return Ok(None);
        };
        let facts = &entry.facts;
        Ok(Some(Resolved {
            id: facts.id.clone(),
            name: record.name.clone(),
            target,
            chain: facts.chain.clone(),
            config: documents.run,
            size: facts.size,
            user: facts.user.clone(),
        }))
    }

    /// What people are told of an image.
    pub(super) async fn details(&self, entry: &Entry) -> Result<Option<Value>> {
        let Parts { node, .. } = &*self.0;
        let Some(record) = entry.records.first() else { return Ok(None) };
        let Some(documents) = Documents::read(node, &record.target.digest).await? else {
            return Ok(None);
        };
        let config: Value = serde_json::from_slice(&documents.config_blob).unwrap_or_default();
        Ok(Some(json!({ "chainID": entry.facts.chain, "imageSpec": config })))
    }
}
