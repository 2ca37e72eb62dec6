//! The tables of the file, one per service, with their defaults.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Error, HumanDuration};

/// The most that messages of clients may be configured to have: one is held as a whole, at least once.
pub const MAX_MESSAGE_SIZE: u64 = 1 << 30;

/// The most that calls may be given when the node ends: supervisors have a bound of their own.
const MAX_DRAIN: Duration = Duration::from_secs(10);

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level, or targets with levels.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[telemetry]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where spans are sent to (OTLP over gRPC). Nothing is traced without it.
    pub otlp_endpoint: Option<String>,
    /// The share of traces that are kept of those that begin here, 0 to 1. Not set: all.
    pub sampling_ratio: Option<f64>,
    /// Nothing is traced: `disabled_plugins` says so.
    #[serde(skip)]
    pub left_out: bool,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Where metrics and health of the node are told over HTTP, `ADDRESS:PORT`. Empty: nowhere.
    pub address: String,
    /// What each container uses is told too.
    pub containers: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { address: String::new(), containers: true }
    }
}

/// `[gateway]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// How long a call waits for a service that is being restarted.
    pub wait: HumanDuration,
    /// How long calls that are under way may take once the node is told to end.
    pub drain: HumanDuration,
    /// Owner of the clients' socket.
    pub uid: u32,
    /// Group of the clients' socket.
    pub gid: u32,
    /// Mode of the clients' socket, in octal.
    #[serde(with = "octal")]
    pub mode: u32,
    /// The most connections of clients at once.
    pub max_connections: usize,
    /// The largest message that clients may send; 0: the default.
    pub max_recv_message_size: ByteSize,
    /// The largest message that clients are answered with; 0: the default.
    pub max_send_message_size: ByteSize,
    /// Plugins without which the node does not start, `TYPE.ID` as they are listed.
    pub required_plugins: Vec<String>,
    /// Clients over TCP. Not set: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
}

/// `[gateway.tcp]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Where to listen, `ADDRESS:PORT`.
    pub address: String,
    /// The authorities that clients' certificates must be from (PEM).
    pub ca: PathBuf,
    /// What clients are shown, with what leads to its authority (PEM).
    pub cert: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// As that of `[gateway]`, of these clients.
    #[serde(default = "default_message")]
    pub max_recv_message_size: ByteSize,
    /// As that of `[gateway]`, of these clients.
    #[serde(default = "default_message")]
    pub max_send_message_size: ByteSize,
}

/// `[distribution]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Distribution {
    /// The most that the store keeps in memory.
    pub store_cache: ByteSize,
    /// Events that are kept for subscribers that come back.
    pub events: usize,
    /// The process of others that keeps the bytes of blobs. Not set: they are files.
    pub content_store: Option<String>,
    /// Whether namespaces share blobs.
    pub content_sharing_policy: Sharing,
    /// Talking to registries.
    pub registry: Registry,
    /// Programs that may refuse a pull.
    pub image_verifiers: ImageVerifiers,
    /// Garbage collection.
    pub gc: Gc,
}

/// Whether a namespace gets a blob that another has by naming its digest. Their files are the same
/// either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// It does.
    Shared,
    /// Only from namespaces with the label `containerd.io/namespace.shareable`.
    Isolated,
}

impl Sharing {
    /// Its name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Isolated => "isolated",
        }
    }
}

/// `[distribution.image_verifiers]`: keys and defaults are containerd's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageVerifiers {
    /// The folder of the programs; each is asked before an image is pulled.
    pub bin_dir: PathBuf,
    /// The most programs that are asked, in the order of their names; a negative number: all.
    pub max_verifiers: i64,
    /// How long one may take.
    pub per_verifier_timeout: HumanDuration,
    /// Nobody is asked: `disabled_plugins` says so.
    #[serde(skip)]
    pub left_out: bool,
}

/// `[distribution.registry]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    /// Folders with a `HOST/hosts.toml` per registry; the first that has one is taken.
    pub config_path: Vec<PathBuf>,
    /// docker's config.json with credentials.
    pub docker_config: Option<PathBuf>,
    /// Layers that one pull downloads at once.
    pub max_concurrent_downloads: usize,
    /// Layers that one push uploads at once.
    pub max_concurrent_uploads: usize,
    /// Tries of a request that may be repeated.
    pub max_tries: usize,
    /// Deadlines.
    pub timeouts: Timeouts,
}

/// `[distribution.registry.timeouts]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until a connection is made.
    pub connect: HumanDuration,
    /// Until a request has been answered, its body apart.
    pub response: HumanDuration,
    /// Without a byte of a body.
    pub stall: HumanDuration,
    /// Until a credential helper has answered.
    pub credentials: HumanDuration,
}

/// `[distribution.gc]`: keys and defaults are containerd's, `deadline` apart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gc {
    /// From the start to the first collection; 0: there is none for the start alone.
    pub startup_delay: HumanDuration,
    /// From what causes a collection at once to its begin, so that several causes are collected at
    /// once.
    pub schedule_delay: HumanDuration,
    /// The share of the time that collections may take that nobody waits for, at most 0.5.
    pub pause_threshold: f64,
    /// Deletions that cause a collection at once; 0: they are collected in turn.
    pub deletion_threshold: u64,
    /// Writes, deletions among them, after which a collection has its turn; 0: only deletions count.
    pub mutation_threshold: u64,
    /// The most that one collection may take.
    pub deadline: HumanDuration,
}

/// `[stream_processors.ID]`: keys are containerd's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StreamProcessor {
    /// Media types that the program takes on its standard input.
    pub accepts: Vec<String>,
    /// The media type of what it writes to its standard output.
    pub returns: String,
    /// The program, a path or a name on PATH.
    pub path: PathBuf,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables for it, `NAME=VALUE`, besides those of the service.
    #[serde(default)]
    pub env: Vec<String>,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            wait: HumanDuration::secs(10),
            drain: HumanDuration::secs(3),
            uid: 0,
            gid: 0,
            mode: 0o660,
            max_connections: 1024,
            max_recv_message_size: default_message(),
            max_send_message_size: default_message(),
            required_plugins: Vec::new(),
            tcp: None,
        }
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            store_cache: ByteSize(1 << 20),
            events: 4096,
            content_store: None,
            content_sharing_policy: Sharing::Shared,
            registry: Registry::default(),
            image_verifiers: ImageVerifiers::default(),
            gc: Gc::default(),
        }
    }
}

impl Default for ImageVerifiers {
    fn default() -> Self {
        Self {
            bin_dir: "/opt/containerd/image-verifier/bin".into(),
            max_verifiers: 10,
            per_verifier_timeout: HumanDuration::secs(10),
            left_out: false,
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            config_path: vec![
                "/etc/berth/certs.d".into(),
                "/etc/containerd/certs.d".into(),
                "/etc/docker/certs.d".into(),
            ],
            docker_config: None,
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 3,
            max_tries: 5,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: HumanDuration::secs(10),
            response: HumanDuration::secs(30),
            stall: HumanDuration::secs(30),
            credentials: HumanDuration::secs(30),
        }
    }
}

impl Default for Gc {
    fn default() -> Self {
        Self {
            startup_delay: HumanDuration::millis(100),
            schedule_delay: HumanDuration::secs(0),
            pause_threshold: 0.02,
            deletion_threshold: 0,
            mutation_threshold: 100,
            deadline: HumanDuration::secs(300),
        }
    }
}

impl Distribution {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let registry = &self.registry;
        at_least_one(
            "distribution.registry.max_concurrent_downloads",
            registry.max_concurrent_downloads,
        )?;
        at_least_one(
            "distribution.registry.max_concurrent_uploads",
            registry.max_concurrent_uploads,
        )?;
        at_least_one("distribution.registry.max_tries", registry.max_tries)?;
        let (key, share) = ("distribution.gc.pause_threshold", self.gc.pause_threshold);
        if (0.0..=0.5).contains(&share) {
            return Ok(());
        }
        Err(Error::Range { key, value: share.to_string(), rule: "from 0 to 0.5" })
    }
}

/// The largest message unless somebody says otherwise, as containerd has it.
fn default_message() -> ByteSize {
    ByteSize(16 << 20)
}

impl Gateway {
    /// Puts the default where there is none, as containerd does.
    pub(crate) fn complete(&mut self) -> Result<(), Error> {
        let Self { drain, max_connections, tcp, .. } = self;
        let Self { max_recv_message_size, max_send_message_size, .. } = self;
        bound("gateway.max_recv_message_size", max_recv_message_size)?;
        bound("gateway.max_send_message_size", max_send_message_size)?;
        if *max_connections == 0 {
            let (key, value) = ("gateway.max_connections", "0".to_owned());
            return Err(Error::Range { key, value, rule: "more than 0" });
        }
        if drain.0 > MAX_DRAIN {
            let (key, value) = ("gateway.drain", drain.to_string());
            return Err(Error::Range { key, value, rule: "at most 10s" });
        }
        if let Some(tcp) = tcp {
            bound("gateway.tcp.max_recv_message_size", &mut tcp.max_recv_message_size)?;
            bound("gateway.tcp.max_send_message_size", &mut tcp.max_send_message_size)?;
        }
        Ok(())
    }
}

fn bound(key: &'static str, size: &mut ByteSize) -> Result<(), Error> {
    if size.bytes() > MAX_MESSAGE_SIZE {
        return Err(Error::Range { key, value: size.to_string(), rule: "at most 1GiB" });
    }
    if size.bytes() == 0 {
        *size = default_message();
    }
    Ok(())
}

/// Whether it is `NAME=VALUE`.
pub(crate) fn is_variable(pair: &str) -> bool {
    pair.find('=').is_some_and(|at| at > 0)
}

impl StreamProcessor {
    pub(crate) fn check(&self, id: &str) -> Result<(), Error> {
        let wrong = |key, value: String, rule| {
            let key = format!("stream_processors.{id}.{key}");
            Err(Error::Value { key, value, rule })
        };
        if self.accepts.is_empty() || self.accepts.iter().any(String::is_empty) {
            return wrong("accepts", format!("{:?}", self.accepts), "media types, one at least");
        }
        if self.returns.is_empty() {
            return wrong("returns", String::new(), "a media type");
        }
        if self.path.as_os_str().is_empty() {
            return wrong("path", String::new(), "a program");
        }
        match self.env.iter().find(|pair| !is_variable(pair)) {
            Some(pair) => wrong("env", pair.clone(), "NAME=VALUE"),
            None => Ok(()),
        }
    }
}

fn at_least_one(key: &'static str, value: usize) -> Result<(), Error> {
    if value > 0 {
        return Ok(());
    }
    Err(Error::Range { key, value: value.to_string(), rule: "at least 1" })
}

/// Modes are written in octal, as text: a bare number in TOML would be decimal.
mod octal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{mode:04o}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is no mode, write it in octal as \"0660\""))
        })
    }
}
