//! `[cluster]`: the part of the service that shows this node to others, and others to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Config, Error, HumanDuration};

/// The longest name of a node or cluster: that of a host, since certificates carry it.
const MAX_NAME: usize = 63;
/// The most labels of a node, and the most bytes of them, keys and values together.
const MAX_LABELS: usize = 32;
const MAX_LABELS_BYTES: usize = 2 << 10;
/// The most addresses of a node, and the most bytes of one.
const MAX_ADDRESSES: usize = 16;
const MAX_ADDRESS: usize = 256;
/// The most members of etcd that are named.
const MAX_ENDPOINTS: usize = 16;

const NAME: &str =
    "letters, digits, \"-\", \".\" and \"_\", the first and last a letter or digit, at most 63";
const HOST_PORT: &str = "HOST:PORT";
const OF_LABELS: &str = "32 labels of 2KiB in all at most, none without a name";

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// The cluster's name: several share an etcd by it.
    pub name: String,
    /// The node's name. Empty: the host's.
    pub node: String,
    /// Where people and programs reach the node. Empty: none is told but the host's name.
    pub addresses: Vec<String>,
    /// How long the node stays in the view after it was last heard of.
    pub lease: HumanDuration,
    /// The most keys that are written in a second.
    pub writes: u32,
    /// Changes that follow each other within it are written together; the first one goes at once.
    pub batch: HumanDuration,
    /// The most images that are published, and as many containers.
    pub max_objects: usize,
    /// How long a view is kept that nobody reads any more.
    pub linger: HumanDuration,
    /// How often all that was published is held against what the services say.
    pub compare: HumanDuration,
    /// The share of the root's file system from which on its use is told as pressure.
    pub disk_pressure: f64,
    /// The same of memory.
    pub memory_pressure: f64,
    /// What the node is told to be.
    pub labels: BTreeMap<String, String>,
    /// The etcd that all nodes of the cluster share.
    pub etcd: Etcd,
    /// Where the node answers others about itself.
    pub peer: Peer,
}

/// `[cluster.etcd]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Etcd {
    /// Its members, `http://HOST:PORT` or `https://HOST:PORT`. Empty: there is no cluster.
    pub endpoints: Vec<String>,
    /// The authorities that its certificate must be from (PEM). Not set, and with `https`: the machine's.
    pub ca: Option<PathBuf>,
    /// What it is shown (PEM).
    pub cert: Option<PathBuf>,
    /// The key of that (PEM).
    pub key: Option<PathBuf>,
    /// The name that its certificate must be for. Not set: the endpoint's host.
    pub server_name: Option<String>,
    /// The user to authenticate as. Not set: nobody.
    pub user: Option<String>,
    /// A file with the user's password.
    pub password_file: Option<PathBuf>,
}

/// `[cluster.peer]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peer {
    /// Where to listen, `HOST:PORT`. Empty: nowhere.
    pub address: String,
    /// What others are told. Empty: `address`, or where that is one of all interfaces the first of the node's
    /// addresses with its port.
    pub advertise: String,
    /// The authorities that certificates of nodes must be from (PEM).
    pub ca: Option<PathBuf>,
    /// What other nodes are shown (PEM).
    pub cert: Option<PathBuf>,
    /// The key of that (PEM).
    pub key: Option<PathBuf>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "default".into(),
            node: String::new(),
            addresses: Vec::new(),
            lease: HumanDuration::secs(15),
            writes: 100,
            batch: HumanDuration::millis(100),
            max_objects: 10_000,
            linger: HumanDuration::secs(30),
            compare: HumanDuration::secs(600),
            disk_pressure: 0.9,
            memory_pressure: 0.9,
            labels: BTreeMap::new(),
            etcd: Etcd::default(),
            peer: Peer::default(),
        }
    }
}

impl Config {
    /// Whether the node is part of a cluster: members of etcd are named.
    #[must_use]
    pub fn cluster_is_on(&self) -> bool {
        !self.cluster.etcd.endpoints.is_empty()
    }
}

impl Cluster {
    pub(crate) fn check(&self) -> Result<(), Error> {
        require(is_name(&self.name), "cluster.name", &self.name, NAME)?;
        require(self.node.is_empty() || is_name(&self.node), "cluster.node", &self.node, NAME)?;
        self.check_addresses()?;
        self.check_bounds()?;
        self.check_labels()?;
        self.etcd.check()?;
        self.peer.check()
    }

    fn check_addresses(&self) -> Result<(), Error> {
        let fits = |address: &&String| {
            (1..=MAX_ADDRESS).contains(&address.len())
                && !address.chars().any(|c| c.is_control() || c.is_whitespace())
        };
        let rule = "addresses without spaces, 16 of 256 bytes at most";
        require(self.addresses.len() <= MAX_ADDRESSES, "cluster.addresses", "too many", rule)?;
        match self.addresses.iter().find(|address| !fits(address)) {
            Some(address) => require(false, "cluster.addresses", address, rule),
            None => Ok(()),
        }
    }

    fn check_bounds(&self) -> Result<(), Error> {
        let seconds = Duration::from_secs;
        for (key, value, least, most, rule) in [
            ("cluster.lease", &self.lease, seconds(5), seconds(600), "from 5s to 10m"),
            (
                "cluster.batch",
                &self.batch,
                Duration::from_millis(1),
                seconds(10),
                "from 1ms to 10s",
            ),
            ("cluster.linger", &self.linger, seconds(0), seconds(86_400), "at most 24h"),
            ("cluster.compare", &self.compare, seconds(1), seconds(86_400), "from 1s to 24h"),
        ] {
            let fits = (least..=most).contains(&value.0);
            range(fits, key, value, rule)?;
        }
        let writes = (1..=10_000).contains(&self.writes);
        range(writes, "cluster.writes", self.writes, "from 1 to 10000")?;
        let objects = (1..=100_000).contains(&self.max_objects);
        range(objects, "cluster.max_objects", self.max_objects, "from 1 to 100000")?;
        for (key, share) in [
            ("cluster.disk_pressure", self.disk_pressure),
            ("cluster.memory_pressure", self.memory_pressure),
        ] {
            range((0.0..=1.0).contains(&share), key, share, "from 0 to 1")?;
        }
        Ok(())
    }

    fn check_labels(&self) -> Result<(), Error> {
        let bytes: usize = self.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        let fits = self.labels.len() <= MAX_LABELS
            && bytes <= MAX_LABELS_BYTES
            && !self.labels.contains_key("");
        let value = format!("{} labels of {bytes} bytes", self.labels.len());
        require(fits, "cluster.labels", &value, OF_LABELS)
    }
}

impl Etcd {
    fn check(&self) -> Result<(), Error> {
        let rule = "http://HOST:PORT or https://HOST:PORT, all the same, 16 at most";
        let key = "cluster.etcd.endpoints";
        require(self.endpoints.len() <= MAX_ENDPOINTS, key, "too many", rule)?;
        for endpoint in &self.endpoints {
            let plain = endpoint.strip_prefix("http://");
            let rest = plain.or_else(|| endpoint.strip_prefix("https://"));
            let alike = plain.is_some() == self.endpoints[0].starts_with("http://");
            require(rest.is_some_and(is_host_port) && alike, key, endpoint, rule)?;
        }
        let secured = self.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
        for (key, path) in [
            ("cluster.etcd.ca", &self.ca),
            ("cluster.etcd.cert", &self.cert),
            ("cluster.etcd.key", &self.key),
        ] {
            let Some(path) = path else { continue };
            absolute(key, path)?;
            let rule = "not set, or the endpoints https://";
            let fits = secured || self.endpoints.is_empty();
            require(fits, key, &path.display().to_string(), rule)?;
        }
        together("cluster.etcd.cert", self.cert.is_some(), "cluster.etcd.key", self.key.is_some())?;
        if let Some(path) = &self.password_file {
            absolute("cluster.etcd.password_file", path)?;
        }
        let user = self.user.as_deref().unwrap_or_default();
        require(self.user.is_none() || !user.is_empty(), "cluster.etcd.user", user, "a name")?;
        let (user, password) = ("cluster.etcd.user", "cluster.etcd.password_file");
        together(user, self.user.is_some(), password, self.password_file.is_some())
    }
}

impl Peer {
    fn check(&self) -> Result<(), Error> {
        for (key, value) in
            [("cluster.peer.address", &self.address), ("cluster.peer.advertise", &self.advertise)]
        {
            require(value.is_empty() || is_host_port(value), key, value, HOST_PORT)?;
        }
        let rule = "empty, or set with address";
        let unused = !self.advertise.is_empty() && self.address.is_empty();
        require(!unused, "cluster.peer.advertise", &self.advertise, rule)?;
        for (key, path) in [
            ("cluster.peer.ca", &self.ca),
            ("cluster.peer.cert", &self.cert),
            ("cluster.peer.key", &self.key),
        ] {
            match path {
                Some(path) => absolute(key, path)?,
                None => require(self.address.is_empty(), key, "", "a file, as address is set")?,
            }
        }
        Ok(())
    }
}

/// Whether it can name a node or a cluster.
fn is_name(text: &str) -> bool {
    let plain = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    plain(text.chars().next())
        && plain(text.chars().next_back())
        && text.len() <= MAX_NAME
        && text.chars().all(inner)
}

/// Whether it is `HOST:PORT`, where an IPv6 address is in brackets.
fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let fits = match bracketed {
        true => host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok(),
        false => !host.is_empty() && host.len() <= 253 && host.chars().all(is_host),
    };
    fits && port.parse::<u16>().is_ok()
}

fn absolute(key: &'static str, path: &Path) -> Result<(), Error> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Error::RelativePath { key, path: path.to_owned() })
}

/// One without the other has no meaning.
fn together(one: &str, is_one: bool, other: &str, is_other: bool) -> Result<(), Error> {
    match (is_one, is_other) {
        (true, false) => require(false, other, "", "set, as its counterpart is"),
        (false, true) => require(false, one, "", "set, as its counterpart is"),
        _ => Ok(()),
    }
}

fn require(holds: bool, key: &str, value: &str, rule: &'static str) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::Value { key: key.to_owned(), value: value.to_owned(), rule })
}

fn range(
    holds: bool,
    key: &'static str,
    value: impl ToString,
    rule: &'static str,
) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::Range { key, value: value.to_string(), rule })
}
