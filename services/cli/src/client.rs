//! The connection to the gateway.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_ids::Namespace;
use berth_proto::berth::cluster::v1::cluster_client::ClusterClient;
use berth_proto::berth::node::v1::bundle_check_client::BundleCheckClient;
use berth_proto::berth::node::v1::collection_client::CollectionClient;
use berth_proto::berth::node::v1::distribution_check_client::DistributionCheckClient;
use berth_proto::berth::node::v1::distribution_recent_client::DistributionRecentClient;
use berth_proto::berth::node::v1::networks_client::NetworksClient;
use berth_proto::berth::node::v1::runtime_check_client::RuntimeCheckClient;
use berth_proto::berth::node::v1::runtime_recent_client::RuntimeRecentClient;
use berth_proto::containerd::services as api;
use berth_proto::runtime::v1::image_service_client::ImageServiceClient;
use berth_proto::runtime::v1::runtime_service_client::RuntimeServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::global::{ADDRESS, Global};

/// How long one ordinary call may take, the gateway's wait for a restarting service included.
const DEADLINE: Duration = Duration::from_secs(120);

/// The largest message that is taken: the most that a node can be configured to send.
const MAX_MESSAGE: usize = 1 << 30;

/// A connection, and the namespace and lease that its calls are made under.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    namespace: Namespace,
    lease: Option<String>,
    address: PathBuf,
}

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident: $client:path;)*) => {
        impl Client {
            $($(#[$doc])* pub fn $name(&self) -> $client {
                <$client>::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
            })*
        }
    };
}

services! {
    /// Container records.
    containers: api::containers::v1::containers_client::ContainersClient<Channel>;
    /// Blobs.
    content: api::content::v1::content_client::ContentClient<Channel>;
    /// Applying of layers.
    diff: api::diff::v1::diff_client::DiffClient<Channel>;
    /// Events.
    events: api::events::v1::events_client::EventsClient<Channel>;
    /// Image records.
    images: api::images::v1::images_client::ImagesClient<Channel>;
    /// What serves the socket.
    introspection: api::introspection::v1::introspection_client::IntrospectionClient<Channel>;
    /// What keeps things from being collected.
    leases: api::leases::v1::leases_client::LeasesClient<Channel>;
    /// Mounts that the node makes for clients.
    mounts: api::mounts::v1::mounts_client::MountsClient<Channel>;
    /// Namespaces and their labels.
    namespaces: api::namespaces::v1::namespaces_client::NamespacesClient<Channel>;
    /// Root file systems.
    snapshots: api::snapshots::v1::snapshots_client::SnapshotsClient<Channel>;
    /// Streams beside a call.
    streaming: api::streaming::v1::streaming_client::StreamingClient<Channel>;
    /// Running containers.
    tasks: api::tasks::v1::tasks_client::TasksClient<Channel>;
    /// Pull, push, import, export, tag.
    transfer: api::transfer::v1::transfer_client::TransferClient<Channel>;
    /// The node's version.
    version: api::version::v1::version_client::VersionClient<Channel>;
    /// Garbage collection.
    collection: CollectionClient<Channel>;
    /// A check of distribution.
    distribution_check: DistributionCheckClient<Channel>;
    /// A check of bundle.
    bundle_check: BundleCheckClient<Channel>;
    /// A check of runtime.
    runtime_check: RuntimeCheckClient<Channel>;
    /// What distribution did of late.
    distribution_recent: DistributionRecentClient<Channel>;
    /// What runtime did of late.
    runtime_recent: RuntimeRecentClient<Channel>;
    /// Networks of containers.
    networks: NetworksClient<Channel>;
    /// Pods and their containers, as kubelets see them.
    cri: RuntimeServiceClient<Channel>;
    /// Images, as kubelets see them.
    cri_images: ImageServiceClient<Channel>;
    /// What all nodes hold.
    cluster: ClusterClient<Channel>;
}

impl Client {
    /// Connects to the gateway that `global` names.
    pub async fn connect(global: &Global) -> Result<Self> {
        let namespace = global.namespace().parse().context("read the flag --namespace")?;
        let address = global.address.clone();
        let socket = address.clone();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The authority of a unix socket is never looked at.
        let endpoint = Endpoint::from_static("http://localhost")
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20);
        match endpoint.connect_with_connector(connector).await {
            Ok(channel) => Ok(Self { channel, namespace, lease: None, address }),
            Err(cause) => bail!(unreachable(&address, &cause)),
        }
    }

    /// The same connection, whose calls are made under a lease.
    pub fn under(&self, lease: &str) -> Self {
        Self { lease: Some(lease.to_owned()), ..self.clone() }
    }

    /// The same connection, whose calls are made in another namespace.
    pub fn within(&self, namespace: &str) -> Result<Self> {
        let namespace = namespace.parse().context("read a namespace's name")?;
        Ok(Self { namespace, ..self.clone() })
    }

    /// The namespace of every call.
    pub fn namespace(&self) -> &str {
        self.namespace.as_str()
    }

    /// What the namespace's label `containerd.io/defaults/NAME` says.
    pub async fn default_of(&self, name: &str) -> Result<Option<String>> {
        let label = format!("containerd.io/defaults/{name}");
        let get = api::namespaces::v1::GetNamespaceRequest { name: self.namespace.to_string() };
        let found = self.namespaces().get(self.request(get)).await;
        let found = found.step(|| format!("read label {label} of namespace {}", self.namespace))?;
        let labels = found.into_inner().namespace.unwrap_or_default().labels;
        Ok(labels.get(&label).filter(|value| !value.is_empty()).cloned())
    }

    /// The socket's folder, where the pipes of attached programs are made.
    pub fn folder(&self) -> &Path {
        self.address.parent().unwrap_or(Path::new("/"))
    }

    /// Whether the socket is where it is unless told otherwise.
    pub fn is_default_address(&self) -> bool {
        self.address == Path::new(ADDRESS)
    }

    /// A call with the usual deadline.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.patient(message);
        request.set_timeout(DEADLINE);
        request
    }

    /// A call that may take so much longer than usual.
    pub fn lasting<T>(&self, message: T, longer: Duration) -> Request<T> {
        let mut request = self.patient(message);
        request.set_timeout(DEADLINE.saturating_add(longer));
        request
    }

    /// A call that is about all namespaces.
    pub fn of_all<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(DEADLINE);
        request
    }

    /// A call that takes as long as what it waits for.
    pub fn patient<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        // Namespaces are ASCII; so are the leases that we make.
        if let Ok(value) = self.namespace.as_str().parse() {
            metadata.insert("containerd-namespace", value);
        }
        if let Some(Ok(value)) = self.lease.as_ref().map(|lease| lease.parse()) {
            metadata.insert("containerd-lease", value);
        }
        request
    }
}

/// Why there is no connection, and what to do about it.
fn unreachable(address: &Path, cause: &tonic::transport::Error) -> String {
    use std::io::ErrorKind;
    let mut io = None;
    let mut source = std::error::Error::source(cause);
    while let Some(inner) = source {
        io = inner.downcast_ref::<std::io::Error>().or(io);
        source = inner.source();
    }
    let why = io.map_or_else(|| cause.to_string(), ToString::to_string);
    let next = match io.map(std::io::Error::kind) {
        Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            "start it with `berthd` or `systemctl start berth`, or name another socket with --address"
        }
        Some(ErrorKind::PermissionDenied) => "run as root, or as the socket's owner",
        _ => "is it the gateway's socket?",
    };
    format!("cannot reach berth at {}: {why}; {next}", address.display())
}

/// What the node answered to a call.
#[derive(Debug)]
pub struct Refused {
    code: Code,
    message: String,
}

/// What is said of a call whose connection ended before the answer.
const BROKE_OFF: &str = "berth ended the connection: it may have been carried out or not, look before trying again: unavailable";

impl Refused {
    fn of(status: &Status) -> Self {
        // A connection that ends takes calls with it, which the transport calls cancelled. Nobody here has done that.
        let by_transport = std::error::Error::source(status).is_some();
        if status.code() == Code::Cancelled && by_transport {
            return Self { code: Code::Unavailable, message: BROKE_OFF.to_owned() };
        }
        Self { code: status.code(), message: status.message().to_owned() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "{}", self.code)
        } else {
            f.write_str(&self.message)
        }
    }
}

impl std::error::Error for Refused {}

/// Naming the step that a call was made for.
pub trait Step<T> {
    /// Adds what was being done to the error.
    fn step(self, doing: impl FnOnce() -> String) -> Result<T>;
    /// The answer, or `None` when what was asked for does not exist.
    fn optional(self) -> Result<Option<T>, Status>;
}

impl<T> Step<T> for Result<T, Status> {
    fn step(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|status| anyhow::Error::new(Refused::of(&status)).context(doing()))
    }

    fn optional(self) -> Result<Option<T>, Status> {
        match self {
            Ok(answer) => Ok(Some(answer)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }
}

/// Whether the node answered with this code somewhere below.
pub fn answered(error: &anyhow::Error, code: Code) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<Refused>().is_some_and(|r| r.code == code))
}

/// The error and its causes on one line, each said once.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}

/// The error as it is told to people, with what may be done about it.
pub fn told(error: &anyhow::Error) -> String {
    let line = one_line(error);
    let advice = if answered(error, Code::Unauthenticated) {
        "give --user NAME:PASSWORD, or use `docker login`"
    } else if line.contains("No space left on device") {
        "make space there and try again, `berth gc` frees what nothing needs"
    } else {
        return line;
    };
    format!("{line}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(address: &Path, namespace: &str) -> Global {
        Global { address: address.to_owned(), namespace: Some(namespace.to_owned()), json: false }
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_is_named_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let address = dir.path().join("berth.sock");
        let error = Client::connect(&global(&address, "default")).await.err().unwrap();
        let text = one_line(&error);
        assert!(
            text.starts_with(&format!("cannot reach berth at {}", address.display())),
            "{text}"
        );
        assert!(text.contains("No such file") && text.contains("berthd"), "{text}");
    }

    #[tokio::test]
    async fn a_malformed_namespace_is_refused_before_anything_is_sent() {
        let error = Client::connect(&global(Path::new("/none"), "a/b")).await.err().unwrap();
        assert!(one_line(&error).contains("--namespace"));
    }
}
