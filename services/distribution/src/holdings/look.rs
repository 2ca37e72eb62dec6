//! One look at one image: from its target down to its blobs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use berth_ids::Digest;

use super::documents::{Kind, Parsed, Part};
use super::{Held, Holdings, Named};
use crate::error::{Error, Result};
use crate::records::HOLDERS;
use crate::registry::MAX_MANIFEST;

/// How deep indexes may nest, as in a transfer.
const MAX_DEPTH: usize = 4;
/// The most documents of an image that are read: what is below the others does not count to its size.
const MAX_DOCUMENTS: usize = 256;
/// The most blobs of an image that are looked up, likewise.
const MAX_BLOBS: usize = 8 << 10;

/// What is known of the image so far.
pub(super) struct Look<'a> {
    holdings: &'a Holdings,
    image: &'a Named,
    /// Bytes of its blobs; none if the namespace does not have it.
    sizes: HashMap<Digest, Option<u64>>,
    documents: HashMap<Digest, Arc<Parsed>>,
}

impl<'a> Look<'a> {
    pub(super) fn new(holdings: &'a Holdings, image: &'a Named) -> Self {
        Self { holdings, image, sizes: HashMap::new(), documents: HashMap::new() }
    }

    /// Answers what there is.
    pub(super) async fn held(mut self) -> Result<Held> {
        let kind = match Kind::of(&self.image.target.media_type) {
            // What has a type that nobody knows may be an artifact's manifest, and is at least a blob.
            Kind::Other => Kind::Manifest,
            kind => kind,
        };
        let target = Part { digest: self.image.target.digest.clone(), kind };
        let mut held = self.of_machine(target.clone()).await?;
        self.count(target).await?;
        held.size = self.sizes.values().flatten().fold(0, |all, size| all.saturating_add(*size));
        Ok(held)
    }

    /// What there is for this machine, by the first entry for it of each index on the way.
    async fn of_machine(&mut self, target: Part) -> Result<Held> {
        let mut part = target;
        for _ in 0..=MAX_DEPTH {
            let Some(parsed) = self.document(&part).await? else { break };
            match &*parsed {
                Parsed::Manifest { config, layers } => {
                    self.find(layers.iter().chain([config]))?;
                    return Ok(self.of_manifest(config, layers));
                }
                Parsed::Index { entries, ours } => match entries.first().filter(|_| *ours > 0) {
                    Some(next) => part = next.clone(),
                    None => break,
                },
                Parsed::Unreadable => break,
            }
        }
        Ok(Held::default())
    }

    fn of_manifest(&self, config: &Digest, layers: &[Digest]) -> Held {
        let is_there = |digest| self.sizes.get(digest).is_some_and(Option::is_some);
        let missing = layers.iter().enumerate().filter(|(_, layer)| !is_there(layer));
        let missing: Vec<u32> = missing.filter_map(|(at, _)| u32::try_from(at).ok()).collect();
        let complete = missing.is_empty() && is_there(config);
        Held { size: 0, complete, layers: layers.to_vec(), missing }
    }

    /// Finds all that the target leads to.
    async fn count(&mut self, target: Part) -> Result<()> {
        let mut level = vec![target];
        for _ in 0..=MAX_DEPTH {
            let mut below = Vec::new();
            for part in level {
                if self.documents.len() >= MAX_DOCUMENTS || self.sizes.len() >= MAX_BLOBS {
                    return Ok(());
                }
                let Some(parsed) = self.document(&part).await? else { continue };
                match &*parsed {
                    Parsed::Manifest { config, layers } => {
                        self.find(layers.iter().chain([config]))?;
                    }
                    Parsed::Index { entries, .. } => {
                        self.find(entries.iter().map(|entry| &entry.digest))?;
                        let documents = entries.iter().filter(|entry| entry.kind != Kind::Other);
                        let room = MAX_DOCUMENTS.saturating_sub(below.len());
                        below.extend(documents.take(room).cloned());
                    }
                    Parsed::Unreadable => {}
                }
            }
            level = below;
        }
        Ok(())
    }

    /// A document, if the namespace has it.
    async fn document(&mut self, part: &Part) -> Result<Option<Arc<Parsed>>> {
        self.find([&part.digest])?;
        if self.sizes.get(&part.digest).is_none_or(Option::is_none) {
            return Ok(None);
        }
        if let Some(parsed) = self.documents.get(&part.digest) {
            return Ok(Some(parsed.clone()));
        }
        let Holdings { content, documents } = self.holdings;
        let parsed = match documents.get(part) {
            Some(parsed) => parsed,
            None => {
                let read = content.read_bounded(&self.image.namespace, &part.digest, MAX_MANIFEST);
                let parsed = match read.await {
                    Ok(bytes) => Parsed::read(part, &bytes),
                    Err(Error::TooLarge { .. }) => Parsed::Unreadable,
                    Err(error) if is_lost(&error) => {
                        self.sizes.insert(part.digest.clone(), None);
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                };
                let parsed = Arc::new(parsed);
                documents.put(part, parsed.clone());
                parsed
            }
        };
        self.documents.insert(part.digest.clone(), parsed.clone());
        Ok(Some(parsed))
    }

    /// Looks up those of which nothing is known yet.
    fn find<'d>(&mut self, digests: impl IntoIterator<Item = &'d Digest>) -> Result<()> {
        let (sizes, namespace) = (&mut self.sizes, self.image.namespace.as_str());
        self.holdings.content.0.store.read(|txn| {
            for digest in digests {
                if let Entry::Vacant(unknown) = sizes.entry(digest.clone()) {
                    unknown.insert(txn.get(&HOLDERS, &(digest.as_str(), namespace))?);
                }
            }
            Ok(())
        })
    }
}

/// Whether a blob's bytes are not here as its record says.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::ContentNotFound(_) | Error::ShortBlob { .. } => true,
        // Another failure says nothing of whether it is there: the question is to be put again.
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}
