//! Which networks there are: those made here, and those of the folder that pods are attached by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_cni::{Bad, MAX_FILES, Network};
use serde_json::Value;
use tokio::sync::{RwLock, watch};

use super::fault::Fault;
use crate::records::{Choice, Wanted};

/// The most networks that pods are attached to.
const MAX_PODS: usize = super::request::MAX_NETWORKS;

/// Where networks are configured.
pub(super) struct Known {
    /// The folder of those made here.
    pub(super) own: PathBuf,
    /// The folder of the others.
    pub(super) conf_dir: PathBuf,
    pub(super) theirs: watch::Receiver<Arc<berth_cni::Networks>>,
    /// How many of the others are the pods'; 0: all.
    pub(super) max_conf_num: usize,
    /// Whether nobody else attaches to the others.
    pub(super) gc_conf_dir: bool,
    /// Held alone while own ones are made or removed; shared until what names one is on record.
    pub(super) changes: RwLock<()>,
}

/// A network.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its configuration.
    pub network: Arc<Network>,
    /// It was made here.
    pub own: bool,
    /// Pods are attached to it where they do not say to which.
    pub pods: bool,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct All {
    /// By name.
    pub networks: BTreeMap<String, Described>,
    /// Files that are none.
    pub bad: Vec<Bad>,
}

impl Known {
    /// All that are configured now. A name is the machine's before it is one of ours.
    pub(super) async fn all(&self) -> Result<All, Fault> {
        let folder = self.own.clone();
        let read = move || berth_cni::read(&folder, 0);
        let own = berth_lifecycle::blocking("read own networks", read).await?;
        let theirs = self.theirs.borrow().clone();
        let mut all = All::default();
        for (number, network) in theirs.networks.iter().enumerate() {
            let pods = number < self.pods();
            let network = Described { network: network.clone(), own: false, pods };
            all.networks.insert(network.network.name().to_owned(), network);
        }
        for network in own.networks {
            if let Some(first) = all.networks.get(network.name()) {
                let (name, first) = (network.name(), first.network.file().display());
                let reason = format!("{first} has a network {name:?} already");
                all.bad.push(Bad { file: network.file().to_owned(), reason });
                continue;
            }
            let network = Described { network, own: true, pods: false };
            all.networks.insert(network.network.name().to_owned(), network);
        }
        all.bad.extend(theirs.bad.iter().cloned().chain(own.bad));
        all.bad.truncate(2 * MAX_FILES);
        Ok(all)
    }

    /// Those that nobody else attaches to, by name. Read here: what watches the folder may not have yet.
    pub(super) async fn collected(&self) -> Result<Vec<Arc<Network>>, Fault> {
        let (own, conf_dir) = (self.own.clone(), self.conf_dir.clone());
        let read =
            move || (berth_cni::read(&own, 0).networks, berth_cni::read(&conf_dir, 0).networks);
        let (own, theirs) = berth_lifecycle::blocking("read networks", read).await?;
        // A name is the machine's before it is one of ours.
        let is_theirs =
            |network: &Arc<Network>| theirs.iter().any(|one| one.name() == network.name());
        let mut all: Vec<_> = own.into_iter().filter(|network| !is_theirs(network)).collect();
        if self.gc_conf_dir {
            all.extend(theirs);
        }
        all.sort_by(|one, other| one.name().cmp(other.name()));
        Ok(all)
    }

    /// Those that pods are attached to, in order.
    pub(super) fn pods_networks(&self) -> Result<Vec<Arc<Network>>, Fault> {
        let theirs = self.theirs.borrow().clone();
        first_of(&theirs, self.pods(), &self.conf_dir)
    }

    fn pods(&self) -> usize {
        at_most(self.max_conf_num)
    }

    /// Those of another folder, as they are now.
    async fn networks_of(&self, folder: &str, most: usize) -> Result<Vec<Arc<Network>>, Fault> {
        let most = if most == 0 { self.pods() } else { at_most(most) };
        let folder = PathBuf::from(folder);
        let read = move || first_of(&berth_cni::read(&folder, 0), most, &folder);
        berth_lifecycle::blocking("read networks of a folder", read).await?
    }

    /// The networks of a request, each with what is wanted on it.
    pub(super) async fn chosen(
        &self,
        wanted: &Wanted,
    ) -> Result<Vec<(Arc<Network>, Choice)>, Fault> {
        let choices = &wanted.networks;
        if choices.is_empty() {
            let pods = match &*wanted.conf_dir {
                "" => self.pods_networks()?,
                folder => self.networks_of(folder, wanted.max_conf_num).await?,
            };
            return Ok(pods.into_iter().map(|network| (network, Choice::default())).collect());
        }
        let all = self.all().await?;
        let find = |choice: &Choice| {
            let found = all.networks.get(&choice.name);
            let found = found.ok_or_else(|| Fault::NoNetwork(choice.name.clone()))?;
            Ok((found.network.clone(), choice.clone()))
        };
        choices.iter().map(find).collect()
    }
}

/// How many networks a number of files means that are to count; 0 is all.
fn at_most(files: usize) -> usize {
    if files == 0 { MAX_PODS } else { files.min(MAX_PODS) }
}

/// The first of a folder, or why there is none.
fn first_of(
    there: &berth_cni::Networks,
    most: usize,
    folder: &Path,
) -> Result<Vec<Arc<Network>>, Fault> {
    let first: Vec<_> = there.networks.iter().take(most).cloned().collect();
    if !first.is_empty() {
        return Ok(first);
    }
    let bad = there.bad.first();
    let bad = bad.map(|bad| format!(", but {}: {}", bad.file.display(), bad.reason));
    let folder = folder.display();
    Err(Fault::NoPods(format!("none is configured in {folder}{}", bad.unwrap_or_default())))
}

impl Described {
    /// Its subnets as it says them itself, in CIDR notation.
    #[must_use]
    pub fn subnets(&self) -> Vec<String> {
        let list = self.network.to_list();
        let ipams = list["plugins"].as_array().into_iter().flatten().map(|plugin| &plugin["ipam"]);
        let mut subnets = Vec::new();
        for ipam in ipams {
            let sets = ipam["ranges"].as_array().into_iter().flatten();
            let ranges = sets.flat_map(|set| set.as_array().into_iter().flatten());
            let said = ranges.chain([ipam]).filter_map(|range| range["subnet"].as_str());
            subnets.extend(said.map(str::to_owned));
        }
        subnets.truncate(MAX_FILES);
        subnets
    }

    /// The bridges that it names.
    pub(super) fn bridges(&self) -> Vec<String> {
        let list = self.network.to_list();
        let plugins = list["plugins"].as_array().into_iter().flatten();
        plugins.filter_map(|plugin| Some(plugin["bridge"].as_str()?.to_owned())).collect()
    }

    /// What it was labelled with when it was made.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let list = self.network.to_list();
        let labels = list["plugins"][0]["args"]["berth"]["labels"].as_object().filter(|_| self.own);
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.into()));
        labels.into_iter().flatten().filter_map(text).collect()
    }
}
