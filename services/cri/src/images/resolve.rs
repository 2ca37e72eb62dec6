//! The image that a container is made of.

use berth_runtime_spec::ImageConfig;
use serde_json::{Value, json};

use super::documents::Documents;
use super::index::{self, Entry};
use super::user::User;
use super::{Images, Parts};
use crate::Result;
use crate::peers::images;

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
    /// other record is read.
    ///
    /// # Errors
    /// [`crate::Error::Peer`].
    pub async fn names(&self, target: &str) -> Result<Names> {
        let records = images::pointing_at(&self.0.node, target).await?;
        let (tags, digests) = index::names(&records);
        Ok(Names { tag: tags.into_iter().next(), digest: digests.into_iter().next() })
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
