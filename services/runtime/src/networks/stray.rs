//! What records, namespaces and plugins' records do not say alike, for a check of the node.

use std::collections::BTreeMap;

use super::attach::attachment_id;
use super::earlier::pins;
use super::fault::Fault;
use super::{Key, Networks, key_of};
use crate::error::{Error, Result};
use crate::records::{ATTACHMENTS, Attachment, Standing};

/// Something that is on one side only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stray {
    /// A pin of this name has no record.
    Namespace(String),
    /// Plugins are to undo what has no record.
    Interface(String),
    /// Files of an attachment are there, and no namespace.
    NoNamespace(Key),
    /// Plugins do not know of an interface of an attachment.
    NoInterface(Key, String),
    /// It cannot be undone.
    Stuck(Key, String),
}

impl Networks {
    /// How many were looked at, and what is stray.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Fault::Plugins`], [`Fault::Namespace`].
    pub(crate) async fn strays(&self) -> Result<(u64, Vec<Stray>)> {
        // Records last: what is made meanwhile is on record when it is looked for.
        let left = self.0.engine.leftovers(&[]).await.map_err(|e| Fault::from(Box::new(e)))?;
        let folders = self.0.folders.clone();
        let looked =
            berth_lifecycle::blocking("look for network namespaces", move || pins(&folders));
        let pins = looked.await.map_err(Fault::from)??;
        let there = self.every()?;
        let mut strays = Vec::new();
        for pin in &pins {
            let name = pin.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !key_of(&name).is_some_and(|key| there.contains_key(&key)) {
                strays.push(Stray::Namespace(name));
            }
        }
        for id in left.iter().map(|left| &left.id) {
            let record = key_of(&id.container_id).and_then(|key| there.get(&key));
            let has_it = |record: &Attachment| {
                let mut joined = record.joined.iter();
                joined.any(|joined| joined.network == id.network && joined.ifname == id.ifname)
            };
            if !record.is_some_and(has_it) {
                strays.push(Stray::Interface(id.to_string()));
            }
        }
        let known: Vec<_> = left.into_iter().map(|left| left.id).collect();
        for (key, record) in &there {
            if !record.trouble.is_empty() {
                strays.push(Stray::Stuck(key.clone(), record.trouble.clone()));
            }
            let up = berth_netns::is_namespace(&self.0.folders.netns(key));
            if record.standing != Standing::Attached {
                continue;
            }
            // After a start of the machine neither is there.
            if !up && self.0.folders.of(key).exists() {
                strays.push(Stray::NoNamespace(key.clone()));
            }
            for joined in record.joined.iter().filter(|_| up) {
                let id = attachment_id(key, joined);
                if !known.contains(&id) {
                    strays.push(Stray::NoInterface(key.clone(), id.to_string()));
                }
            }
        }
        Ok(((there.len() + pins.len() + known.len()) as u64, strays))
    }

    /// How many of a namespace are attached and not on their way out.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) fn count(&self, ns: &berth_ids::Namespace) -> Result<u64> {
        let keys = self.keys(|standing| standing != Standing::Leaving)?;
        Ok(keys.iter().filter(|(own, _)| own == ns.as_str()).count() as u64)
    }

    /// All records.
    pub(super) fn every(&self) -> Result<BTreeMap<Key, Attachment>> {
        let mut there = BTreeMap::new();
        self.0.store.read(|txn| {
            for record in txn.range(&ATTACHMENTS, ())? {
                let (key, record) = record?;
                there.insert(key, record);
            }
            Ok::<_, Error>(())
        })?;
        Ok(there)
    }
}
