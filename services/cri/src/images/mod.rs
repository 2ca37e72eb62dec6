//! Images, as kubelets see those of distribution.
//!
//! Owns: which records of images are one image to a kubelet, pulls under way. Must not know: pods and containers.
//!
//! Nothing is kept: each question reads distribution's records, so that what others pull, name and remove is seen at
//! once. What a record points at never changes, and is read once.
//!
//! | module | what it does |
//! |---|---|
//! | [`reference`] | names, as docker reads them |
//! | `index` | which records are one image, and which one is meant |
//! | `documents`, `platform`, [`user`] | what manifests and configs say |
//! | `known` | what was read of them |
//! | `pull`, `joined`, `silence`, [`credentials`] | pulls |
//! | `resolve`, `unpack` | what a container is made of |
//! | `usage` | what snapshots use |

pub mod credentials;
mod documents;
mod index;
mod joined;
mod known;
mod platform;
mod pull;
pub mod reference;
mod resolve;
mod silence;
mod unpack;
mod usage;
pub mod user;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_config::{Config, Cri, Service};
use futures::{FutureExt, StreamExt, TryStreamExt};

use self::credentials::{Credentials, Logins};
use self::index::{Entry, Index};
use self::joined::Joined;
use self::known::Known;
use self::reference::Reference;
use self::resolve::Unanswered;
use self::usage::Meter;
use self::user::User;
use crate::peers::{Node, images};
use crate::{Error, Result};

pub use pull::Pull;
pub use resolve::Resolved;
pub use usage::Usage;

/// So many images that are not known yet are read at once.
const AT_ONCE: usize = 16;

/// The images. Clones are the same.
#[derive(Clone)]
pub struct Images(Arc<Parts>);

struct Parts {
    node: Node,
    /// What the handlers' images are unpacked by.
    cri: Cri,
    /// Where snapshots are, if their snapshotter does not say.
    folder: PathBuf,
    /// How long a pull may be silent.
    patience: Option<Duration>,
    /// Whole names.
    pinned: BTreeSet<String>,
    known: Known,
    unanswered: Unanswered,
    /// Whom to pull as, where a request does not say it.
    logins: Logins,
    pulls: Joined<(String, String, Credentials), String>,
    unpacking: Joined<(String, String), String>,
    /// By snapshotter.
    meters: BTreeMap<String, Meter>,
}

/// An image, as it is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its config's digest.
    pub id: String,
    /// Names with tags, in order.
    pub repo_tags: Vec<String>,
    /// Names with digests, in order.
    pub repo_digests: Vec<String>,
    /// Bytes of manifest, config and layers, as they are fetched.
    pub size: u64,
    /// Whom it runs as.
    pub user: Option<User>,
    /// The kubelet leaves it where it is.
    pub pinned: bool,
}

impl Images {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(node: Node, config: &Config) -> Self {
        let cri = &config.cri;
        let whole = |name: &String| match Reference::parse(name) {
            Ok(reference) => reference.exact().to_string(),
            Err(_) => name.clone(),
        };
        let meters = cri.snapshotters().into_iter();
        let meters = meters.map(|name| (name.to_owned(), Meter::default()));
        let sandbox = Some(&cri.sandbox_image).filter(|name| !name.is_empty());
        Self(Arc::new(Parts {
            node,
            cri: cri.clone(),
            folder: config.service_root(Service::Bundle),
            patience: Some(*cri.image_pull_progress_timeout).filter(|longest| !longest.is_zero()),
            // A pod's own process needs it again.
            pinned: cri.pinned_images.iter().chain(sandbox).map(whole).collect(),
            known: Known::default(),
            unanswered: Unanswered::default(),
            logins: Logins::of(cri),
            pulls: Joined::default(),
            unpacking: Joined::default(),
            meters: meters.collect(),
        }))
    }

    /// All, in the order of their ids, or the one that is meant by this name.
    ///
    /// # Errors
    /// [`Error::Peer`]; [`Error::Ambiguous`] of a part of several ids.
    pub async fn list(&self, meant: Option<&str>) -> Result<Vec<Image>> {
        let index = self.index().await?;
        Ok(match meant {
            None => index.all().map(|entry| self.image(&entry)).collect(),
            Some(text) => index.find(text)?.map(|entry| self.image(entry)).into_iter().collect(),
        })
    }

    /// The one that is meant by this name. With details it comes with its chain ID and config.
    ///
    /// # Errors
    /// [`Error::Peer`]; [`Error::Ambiguous`] of a part of several ids.
    pub async fn status(
        &self,
        text: &str,
        details: bool,
    ) -> Result<Option<(Image, Option<serde_json::Value>)>> {
        let step = || format!("can not resolve {text:?} locally");
        let index = self.index().await?;
        let Some(entry) = index.find(text).map_err(Error::within(step()))? else {
            return Ok(None);
        };
        let told = if details { self.details(entry).await? } else { None };
        Ok(Some((self.image(entry), told)))
    }

    /// Removes all names of one, and what only they held. It is no error if there is none.
    ///
    /// # Errors
    /// [`Error::Peer`]; [`Error::Ambiguous`] of a part of several ids.
    pub async fn remove(&self, text: &str) -> Result<()> {
        let step = || format!("can not resolve {text:?} locally");
        let index = self.index().await?;
        let Some(entry) = index.find(text).map_err(Error::within(step()))? else {
            return Ok(());
        };
        for (at, record) in entry.records.iter().enumerate() {
            let is_last = at + 1 == entry.records.len();
            let step = || {
                let (name, id) = (&record.name, &entry.facts.id);
                format!("failed to delete image reference {name:?} for {id:?}")
            };
            let deleted = images::delete(&self.0.node, &record.name, is_last).await;
            deleted.map_err(|error| Error::within(step())(error))?;
        }
        Ok(())
    }

    /// What the snapshots of containers and images use, by each snapshotter that is configured; the usual one first.
    ///
    /// # Errors
    /// [`Error::Peer`].
    pub async fn usage(&self) -> Result<Vec<Usage>> {
        let Parts { node, cri, folder, meters, .. } = &*self.0;
        let mut all = Vec::new();
        for (name, meter) in meters {
            let is_usual = *name == cri.snapshotter;
            match meter.measure(node, name, folder.clone()).await {
                Ok(usage) => all.insert(if is_usual { 0 } else { all.len() }, usage),
                Err(error) if is_usual => return Err(error),
                // One that is not there spoils nothing of the others.
                Err(error) => {
                    let error = berth_errors::chain(&error);
                    tracing::warn!(snapshotter = name, error, "measure snapshots of a handler");
                }
            }
        }
        Ok(all)
    }

    /// All images that are here at this moment.
    async fn index(&self) -> Result<Index> {
        let Parts { node, known, .. } = &*self.0;
        let records = images::list(node).await?;
        let targets: HashSet<String> =
            records.iter().map(|record| record.target.digest.clone()).collect();
        known.keep(&targets);
        let read = |target: String| {
            async move {
                let facts = known.of(node, &target).await?;
                Ok::<_, Error>(facts.map(|facts| (target, facts)))
            }
            .boxed()
        };
        let reading = futures::stream::iter(targets).map(read).buffer_unordered(AT_ONCE);
        let found: Vec<_> = reading.try_collect().await?;
        let facts: HashMap<_, _> = found.into_iter().flatten().collect();
        let mut index = Index::default();
        for record in records {
            if let Some(facts) = facts.get(&record.target.digest) {
                index.add(record, Arc::clone(facts));
            }
        }
        Ok(index)
    }

    fn image(&self, entry: &Entry) -> Image {
        let (repo_tags, repo_digests) = index::names(&entry.records);
        let is_pinned = |name: &String| self.0.pinned.contains(name);
        Image {
            id: entry.facts.id.clone(),
            size: entry.facts.size,
            user: entry.facts.user.clone(),
            pinned: entry.records.iter().any(|record| record.pinned)
                || repo_tags.iter().chain(&repo_digests).any(is_pinned),
            repo_tags,
            repo_digests,
        }
    }
}
