//! Calls to the other services of the node.
//!
//! Owns: connections, the namespace and the end that each call has. Must not know: what is asked for, or why.

pub mod checkpoints;
pub mod containers;
pub mod content;
pub mod ends;
pub mod figures;
pub mod images;
pub mod layers;
pub mod leases;
pub mod networks;
mod packed;
pub mod presence;
pub mod runtimes;
pub mod sandboxes;
pub mod snapshots;
pub mod tasks;
pub mod transfer;
pub mod unpack;
pub mod views;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_config::{Config, Service};
use berth_grpc::{Channel, channel, code_of};
use berth_proto::berth::node::v1::networks_client::NetworksClient;
use berth_proto::containerd::services as wire;
use tonic::{Code, Request, Response, Status};
use wire::containers::v1::containers_client::ContainersClient;
use wire::content::v1::content_client::ContentClient;
use wire::diff::v1::diff_client::DiffClient;
use wire::images::v1::images_client::ImagesClient;
use wire::introspection::v1::introspection_client::IntrospectionClient;
use wire::leases::v1::leases_client::LeasesClient;
use wire::mounts::v1::mounts_client::MountsClient;
use wire::sandbox::v1::store_client::StoreClient;
use wire::snapshots::v1::snapshots_client::SnapshotsClient;
use wire::streaming::v1::streaming_client::StreamingClient;
use wire::tasks::v1::tasks_client::TasksClient;
use wire::transfer::v1::transfer_client::TransferClient;

use crate::{Error, NAMESPACE};

pub use packed::Packed;

/// How long what is quick may take, a restart of the other service included.
pub const QUICK: Duration = Duration::from_secs(20);
/// How long what works on processes, mounts or networks may take.
pub const WORK: Duration = Duration::from_secs(120);
/// Of many questions so many are asked at once.
pub const AT_ONCE: usize = 16;
/// The largest message that is taken: lists of images and containers come whole.
const MAX_MESSAGE: usize = 64 << 20;

/// The other services of the node. Clones share their connections, which are made when they are needed.
#[derive(Clone, Debug)]
pub struct Node {
    /// Blobs, images, leases.
    pub distribution: Channel,
    /// Snapshots and mounts.
    pub bundle: Channel,
    /// Containers, tasks, sandboxes, networks.
    pub runtime: Channel,
    /// Where these three are, in this order.
    sockets: Arc<[PathBuf; 3]>,
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $client:ident by $service:ident;)*) => {
        impl Node {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> $client<Channel> {
                $client::new(self.$service.clone()).max_decoding_message_size(MAX_MESSAGE)
            })*
        }
    };
}

clients! {
    /// Image records.
    images: ImagesClient by distribution;
    /// Blobs.
    content: ContentClient by distribution;
    /// What keeps things from being collected.
    leases: LeasesClient by distribution;
    /// Streams beside a call.
    streaming: StreamingClient by distribution;
    /// Pulls.
    transfer: TransferClient by distribution;
    /// What is there of it.
    records: IntrospectionClient by distribution;
    /// What snapshotters there are.
    snapshotters: IntrospectionClient by bundle;
    /// Root file systems.
    snapshots: SnapshotsClient by bundle;
    /// Layers.
    diff: DiffClient by bundle;
    /// Mounts that are made for clients.
    mounts: MountsClient by bundle;
    /// What runtimes can do.
    runtimes: IntrospectionClient by runtime;
    /// Records of containers.
    containers: ContainersClient by runtime;
    /// Records of sandboxes.
    sandboxes: StoreClient by runtime;
    /// What runs.
    tasks: TasksClient by runtime;
    /// Network namespaces, and what they are attached to.
    networks: NetworksClient by runtime;
}

impl Node {
    /// The services of the node with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let of = |service| channel(&config.socket(service));
        Self {
            distribution: of(Service::Distribution),
            bundle: of(Service::Bundle),
            runtime: of(Service::Runtime),
            sockets: Arc::new(
                [Service::Distribution, Service::Bundle, Service::Runtime]
                    .map(|service| config.socket(service)),
            ),
        }
    }
}

/// A call in the namespace of pods, which ends in time.
pub fn call<T>(message: T, within: Duration) -> Request<T> {
    let mut request = endless(message);
    request.set_timeout(within);
    request
}

/// The same, for what may take as long as its caller waits.
pub fn endless<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let name = tonic::metadata::MetadataValue::from_static(NAMESPACE);
    request.metadata_mut().insert("containerd-namespace", name);
    request
}

/// The same under a lease, which holds what comes of it.
///
/// # Errors
/// [`Error::Invalid`] for a lease whose name is none.
pub fn held<T>(request: Request<T>, lease: &str) -> Result<Request<T>, Error> {
    berth_grpc::with_lease(request, lease).map_err(|error| Error::Invalid(error.to_string()))
}

/// What [`Result::map_err`] makes of a refusal.
pub fn refused(step: &'static str) -> impl FnOnce(Status) -> Error {
    move |status| Error::Peer { step, code: code_of(&status), message: status.message().to_owned() }
}

/// Nothing was there, which is as good as that it is gone now.
///
/// # Errors
/// All others.
pub fn gone_is_fine<T>(answer: Result<Response<T>, Status>) -> Result<(), Status> {
    match answer {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        answer => answer.map(drop),
    }
}
