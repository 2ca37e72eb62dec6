//! The one configuration file, read alike by every service.
//!
//! Owns: every key there is, its default, the folders and sockets that follow from them, and the
//! wording of what is wrong with a file. Must not know: what a service does with its part.
//!
//! `deploy/berth.toml` documents each key; a test compares it with the types here. Unknown keys
//! are refused before anything is bound or made.

mod args;
mod bundle;
mod cluster;
pub mod containerd;
mod cri;
mod decoders;
mod error;
mod level;
mod load;
mod network;
mod paths;
mod plugins;
mod proxies;
mod runtime;
mod sections;
mod tree;
mod units;

pub use args::{Args, Overrides};
pub use bundle::{Blockfile, Btrfs, Bundle, Erofs, Overlayfs};
pub use cluster::{Cluster, Etcd, Peer};
pub use cri::{Cri, Handler, Login, Secret};
pub use error::Error;
pub use load::{Explained, Loaded, Source};
pub use network::Network;
pub use paths::Service;
pub use plugins::{Plugins, Presence};
pub use proxies::{ProxyKind, ProxyPlugin};
pub use runtime::{Runtime, ShimTimeouts};
pub use sections::{
    Distribution, Gateway, Gc, ImageVerifiers, Log, LogFormat, MAX_MESSAGE_SIZE, Metrics, Registry,
    Sharing, StreamProcessor, Tcp, Telemetry, Timeouts,
};
pub use tree::Origin;
pub use units::{ByteSize, HumanDuration};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where the file is looked for when nobody names one.
pub const DEFAULT_PATH: &str = "/etc/berth/berth.toml";

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What must survive a reboot.
    pub root: PathBuf,
    /// What must not.
    pub state: PathBuf,
    /// The socket of clients. Empty in the file: `berth.sock` in `state`.
    pub address: PathBuf,
    /// How soon the kernel ends berth's processes when memory runs out, -1000 to 1000; 0: as it is.
    pub oom_score: i32,
    /// The control group that berth's processes live in, below the root of the hierarchies. Empty:
    /// where they are started.
    pub cgroup: String,
    /// Its `bin` is the first folder on the PATH of the services, its `lib` that of their libraries.
    /// Empty: there is none.
    pub opt: PathBuf,
    /// Parts that are left out, by the names that containerd's plugins have, `io.containerd.TYPE.ID`.
    pub disabled_plugins: Vec<String>,
    /// What is logged.
    pub log: Log,
    /// Tracing.
    pub telemetry: Telemetry,
    /// Metrics and health.
    pub metrics: Metrics,
    /// The gateway's part.
    pub gateway: Gateway,
    /// Distribution's part.
    pub distribution: Distribution,
    /// Bundle's part.
    pub bundle: Bundle,
    /// Runtime's part.
    pub runtime: Runtime,
    /// Networks of containers and pods.
    pub network: Network,
    /// Cluster's part.
    pub cluster: Cluster,
    /// The part of what kubelets call.
    pub cri: Cri,
    /// Programs that make layers of what is none, by their IDs.
    pub stream_processors: BTreeMap<String, StreamProcessor>,
    /// Parts of the engine that are processes of others, by name.
    pub proxy_plugins: BTreeMap<String, ProxyPlugin>,
    /// Tables of containerd's CRI, which are read beside `cri`: what they say is there, and no longer here, once a file
    /// was loaded.
    #[serde(skip_serializing)]
    pub plugins: BTreeMap<String, toml::Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: "/var/lib/berth".into(),
            state: "/run/berth".into(),
            address: PathBuf::new(),
            oom_score: 0,
            cgroup: String::new(),
            opt: "/opt/containerd".into(),
            disabled_plugins: Vec::new(),
            log: Log::default(),
            telemetry: Telemetry::default(),
            metrics: Metrics::default(),
            gateway: Gateway::default(),
            distribution: Distribution::default(),
            bundle: Bundle::default(),
            runtime: Runtime::default(),
            network: Network::default(),
            cluster: Cluster::default(),
            cri: Cri::default(),
            stream_processors: BTreeMap::new(),
            proxy_plugins: BTreeMap::new(),
            plugins: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The configuration of the file at `path`, or of the usual one, with what is overridden.
    ///
    /// # Errors
    /// [`Error`] names the file, the line and the key.
    pub fn load(path: Option<&Path>, overrides: Overrides) -> Result<Self, Error> {
        Args { config: path.map(Path::to_owned), overrides, ..Args::default() }.load()
    }

    /// Parses the text of the file at `path`, which is only named in errors.
    ///
    /// # Errors
    /// [`Error::Parse`] with the line and, for an unknown key, the nearest known one.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| Error::parse(path, text, &error))
    }

    /// Fills in what follows from other keys and checks what must hold between them.
    fn complete(&mut self) -> Result<(), Error> {
        if self.address.as_os_str().is_empty() {
            self.address = self.state.join("berth.sock");
        }
        if self.runtime.ttrpc_address.as_os_str().is_empty() {
            let mut name = self.address.as_os_str().to_owned();
            name.push(".ttrpc");
            self.runtime.ttrpc_address = name.into();
        }
        for (key, path) in [
            ("root", &self.root),
            ("state", &self.state),
            ("address", &self.address),
            ("runtime.ttrpc_address", &self.runtime.ttrpc_address),
        ] {
            if !path.is_absolute() {
                return Err(Error::RelativePath { key, path: path.clone() });
            }
        }
        if self.root == self.state {
            return Err(Error::SameFolder(self.root.clone()));
        }
        if !(-1000..=1000).contains(&self.oom_score) {
            let value = self.oom_score.to_string();
            return Err(Error::Range { key: "oom_score", value, rule: "from -1000 to 1000" });
        }
        if !self.opt.as_os_str().is_empty() && !self.opt.is_absolute() {
            return Err(Error::RelativePath { key: "opt", path: self.opt.clone() });
        }
        self.log.level = level::normalised(&self.log.level)?;
        self.leave_out()?;
        self.gateway.complete()?;
        self.runtime.check()?;
        self.network.check()?;
        for (id, processor) in decoders::defaults() {
            self.stream_processors.entry(id).or_insert(processor);
        }
        for (id, processor) in &self.stream_processors {
            processor.check(id)?;
        }
        self.proxy_plugins.iter().try_for_each(|(name, plugin)| plugin.check(name))?;
        self.bundle.check()?;
        self.cluster.check()?;
        self.cri.check()?;
        proxies::check_differs(&self.bundle.differs, &self.proxy_plugins)?;
        let content_store = self.distribution.content_store.as_deref();
        proxies::check_content_store(content_store, &self.proxy_plugins)?;
        self.distribution.check()
    }
}

/// The most of one file, in bytes.
const MOST: u64 = 4 << 20;

fn read(path: &Path) -> Result<String, Error> {
    use std::io::Read;
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MOST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MOST {
        return Err(failed(std::io::Error::other(format!("it has more than {MOST} bytes"))));
    }
    Ok(text)
}
