//! `[cluster]` of the configuration, in this service's words.
//!
//! Owns: what is configured as what the other modules take, and who this node and this process are. Must not
//! know: what anybody does with it.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use berth_config::Config;
use berth_tls::Files;

use crate::api::peer as door;
use crate::keys::Layout;
use crate::names::{ClusterName, NodeName};
use crate::objects::Node;
use crate::peers::etcd;
use crate::peers::node::Thresholds;
use crate::{publish, view};

/// Another in each run of the machine.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What is configured of this service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// The node's name.
    pub name: NodeName,
    /// Where etcd is.
    pub etcd: etcd::Settings,
    /// How long the node stays in the view after it was last heard of.
    pub lease: Duration,
    /// The most keys that are written in a second.
    pub writes: u32,
    /// Changes that follow each other within it are written together.
    pub batch: Duration,
    /// The most images that are published, and as many containers.
    pub max_objects: usize,
    /// How long a view is kept that nobody reads.
    pub linger: Duration,
    /// How often all is compared.
    pub compare: Duration,
    /// From which share of the root's file system on its use is pressure.
    pub disk_pressure: f64,
    /// The same of memory.
    pub memory_pressure: f64,
    /// Where people and programs reach the node.
    pub addresses: Vec<String>,
    /// What the node is told to be.
    pub labels: BTreeMap<String, String>,
    /// Where the node answers others, if it does.
    peer: Option<Peer>,
    /// Another in each run of this process.
    incarnation: String,
    /// The machine's run, and which folder the root is: a copy of it is another node.
    boot: String,
}

/// Where the node answers others about itself, and what it shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Peer {
    /// Where it listens, `HOST:PORT`.
    address: String,
    /// What others are told, `HOST:PORT`.
    advertise: String,
    /// The authorities of other nodes' certificates (PEM).
    ca: PathBuf,
    /// What is shown (PEM).
    cert: PathBuf,
    /// The key of that (PEM).
    key: PathBuf,
}

impl Settings {
    /// Those of a process that starts now.
    ///
    /// # Errors
    /// The host's name is to be the node's and cannot be one, or the machine's run cannot be read.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let cluster = &config.cluster;
        let host = host();
        let name = match cluster.node.is_empty() {
            true => {
                host.parse().context("take the host's name for cluster.node, which is not set")?
            }
            false => cluster.node.parse().context("read cluster.node")?,
        };
        let boot = fs_err::read_to_string(BOOT).context("read which run of the machine this is")?;
        let root = fs_err::metadata(&config.root).context("look at the root")?;
        let addresses = match cluster.addresses.is_empty() {
            true => vec![host],
            false => cluster.addresses.clone(),
        };
        let named: ClusterName = cluster.name.parse().context("read cluster.name")?;
        let layout = Layout::new(&named);
        Ok(Self {
            cluster: named,
            name,
            etcd: etcd(&cluster.etcd, &layout),
            lease: *cluster.lease,
            writes: cluster.writes,
            batch: *cluster.batch,
            max_objects: cluster.max_objects,
            linger: *cluster.linger,
            compare: *cluster.compare,
            disk_pressure: cluster.disk_pressure,
            memory_pressure: cluster.memory_pressure,
            peer: peer(&cluster.peer, &addresses),
            addresses,
            labels: cluster.labels.clone(),
            incarnation: uuid::Uuid::new_v4().to_string(),
            boot: format!("{}-{:x}-{:x}", boot.trim(), root.dev(), root.ino()),
        })
    }

    /// Where this cluster's keys are.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::new(&self.cluster)
    }

    /// How this node is published.
    #[must_use]
    pub fn publishing(&self) -> publish::Settings {
        publish::Settings {
            layout: self.layout(),
            name: self.name.clone(),
            boot: self.boot.clone(),
            incarnation: self.incarnation.clone(),
            ttl: self.lease,
            writes_per_second: self.writes,
            batch: self.batch,
            max_objects: self.max_objects,
            compare: self.compare,
            node: self.node(),
        }
    }

    /// How others are read.
    #[must_use]
    pub fn viewing(&self) -> view::Settings {
        let settings = view::Settings::new(self.etcd.clone(), self.layout());
        view::Settings { linger: self.linger, ..settings }
    }

    /// From where on the machine runs out of something.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        let percent = |share: f64| (share * 100.0).round() as u32;
        Thresholds { disk: percent(self.disk_pressure), memory: percent(self.memory_pressure) }
    }

    /// Where other nodes are answered, if they are.
    #[must_use]
    pub fn peer(&self) -> Option<door::Settings> {
        let Peer { address, ca, cert, key, .. } = self.peer.as_ref()?;
        let files = Files { ca: ca.clone(), cert: cert.clone(), key: key.clone() };
        Some(door::Settings { address: address.clone(), files })
    }

    /// The node as far as it is configured, in this run of its process: what changes by itself is to be
    /// filled in, and its root's number.
    #[must_use]
    pub fn node(&self) -> Node {
        let told = self.peer.as_ref().map(|peer| peer.advertise.clone());
        Node {
            incarnation: self.incarnation.clone(),
            boot: self.boot.clone(),
            addresses: self.addresses.clone(),
            peer_address: told.unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: self.labels.clone(),
            ..Node::default()
        }
    }
}

/// The host's name, as it is.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn etcd(of: &berth_config::Etcd, layout: &Layout) -> etcd::Settings {
    etcd::Settings {
        endpoints: of.endpoints.clone(),
        ca: of.ca.clone(),
        cert: of.cert.clone(),
        key: of.key.clone(),
        server_name: of.server_name.clone(),
        user: of.user.clone(),
        password_file: of.password_file.clone(),
        probe: layout.prefix().to_owned(),
    }
}

/// All files are set where there is an address: the configuration was checked.
fn peer(of: &berth_config::Peer, addresses: &[String]) -> Option<Peer> {
    if of.address.is_empty() {
        return None;
    }
    let advertise = match of.advertise.is_empty() {
        true => reached_at(&of.address, addresses.first()),
        false => of.advertise.clone(),
    };
    let (ca, cert, key) = (of.ca.clone()?, of.cert.clone()?, of.key.clone()?);
    Some(Peer { address: of.address.clone(), advertise, ca, cert, key })
}

/// Where others reach what listens at `address`: one of all interfaces is none to go to, so it is the node's own.
fn reached_at(address: &str, own: Option<&String>) -> String {
    match (address.parse::<SocketAddr>(), own) {
        (Ok(listens), Some(own)) if listens.ip().is_unspecified() => {
            let port = listens.port();
            match own.parse::<Ipv6Addr>() {
                Ok(own) => format!("[{own}]:{port}"),
                Err(_) if !own.contains([':', '/']) => format!("{own}:{port}"),
                // It is no host.
                Err(_) => address.to_owned(),
            }
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(keys: &str) -> Settings {
        let mut config = Config::parse(keys, Path::new("test.toml")).unwrap();
        config.root = std::env::temp_dir();
        Settings::of(&config).unwrap()
    }

    #[test]
    fn a_node_is_called_as_its_host_unless_it_is_told_otherwise() {
        let of_host = settings("");
        assert_eq!(of_host.name.as_str(), host());
        assert_eq!(of_host.node().addresses, [host()]);
        let named = settings("[cluster]\nname = 'c'\nnode = 'n'\naddresses = ['10.0.0.1']\n");
        assert_eq!(named.name.as_str(), "n");
        assert_eq!(named.layout().prefix(), "/berth/c/v1/");
        assert_eq!(named.node().addresses, ["10.0.0.1"]);
    }

    #[test]
    fn each_process_is_another_of_the_same_run_of_the_machine() {
        let [one, other] = [settings(""), settings("")].map(|of| of.publishing());
        assert_ne!(one.incarnation, other.incarnation);
        assert_eq!(one.boot, other.boot);
        let dir = tempfile::tempdir().unwrap();
        let copied = Config { root: dir.path().to_owned(), ..Config::default() };
        assert_ne!(Settings::of(&copied).unwrap().publishing().boot, one.boot);
    }

    #[test]
    fn others_are_told_where_they_are_to_ask() {
        assert_eq!(settings("").peer, None);
        let files = "ca = '/a'\ncert = '/c'\nkey = '/k'\n";
        let listens = format!("[cluster.peer]\naddress = '0.0.0.0:1'\n{files}");
        assert_eq!(settings(&listens).node().peer_address, format!("{}:1", host()));
        for (own, told) in [("10.0.0.1", "10.0.0.1:1"), ("fd00::1", "[fd00::1]:1"), ("n", "n:1")] {
            let reached = format!("[cluster]\naddresses = ['{own}', 'other']\n{listens}");
            assert_eq!(settings(&reached).node().peer_address, told);
        }
        let url = format!("[cluster]\naddresses = ['https://n/']\n{listens}");
        assert_eq!(settings(&url).node().peer_address, "0.0.0.0:1");
        let one = listens.replace("0.0.0.0:1", "127.0.0.1:1");
        assert_eq!(settings(&one).node().peer_address, "127.0.0.1:1");
        let told = settings(&format!("{listens}advertise = 'n:1'\n"));
        assert_eq!(told.node().peer_address, "n:1");
        assert_eq!(told.peer.unwrap().address, "0.0.0.0:1");
    }
}
