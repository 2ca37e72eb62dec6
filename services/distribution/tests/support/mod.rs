//! A service on a temporary root, with neighbours that keep nothing, and clients of it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_config::{Config, Overrides, Service};
use berth_grpc::Channel;
use berth_grpc::{channel, with_lease, with_namespace};
use berth_ids::Namespace;
use berth_lifecycle::Tasks;
use berth_proto::berth::node::v1 as node;
use berth_proto::containerd::services::content::v1::content_client::ContentClient;
use berth_proto::containerd::services::content::v1::{
    WriteAction, WriteContentRequest, WriteContentResponse,
};
use berth_proto::containerd::services::images::v1::images_client::ImagesClient;
use berth_proto::containerd::services::leases::v1::leases_client::LeasesClient;
use berth_proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use berth_store::Store;
use bytes::Bytes;
use tonic::{Request, Response, Status};

pub const NAMESPACE: &str = "test";

/// Nothing is collected behind the tests' backs.
pub const NEVER: &str =
    "startup_delay = \"1h\"\nmutation_threshold = 0\npause_threshold = 0.000001\n";

pub fn config(root: &Path) -> Arc<Config> {
    config_of(root, NEVER)
}

/// With these keys of `[distribution.gc]`.
fn config_of(root: &Path, gc: &str) -> Arc<Config> {
    let overrides = Overrides {
        root: Some(root.join("root")),
        state: Some(root.join("state")),
        ..Overrides::default()
    };
    let file = root.join("berth.toml");
    fs_err::write(&file, format!("[distribution.gc]\n{gc}")).unwrap();
    Arc::new(Config::load(Some(&file), overrides).unwrap())
}

/// The service, in process, until it is stopped.
pub struct Served {
    pub folder: tempfile::TempDir,
    pub config: Arc<Config>,
    pub tasks: Tasks,
    store: Store,
}

impl Served {
    pub async fn start() -> Self {
        Self::start_with(NEVER).await
    }

    /// With these keys of `[distribution.gc]`.
    pub async fn start_with(gc: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), gc).await
    }

    async fn start_in(folder: tempfile::TempDir, gc: &str) -> Self {
        let config = config_of(folder.path(), gc);
        let tasks = Tasks::new();
        neighbours(&config, &tasks);
        let store = berth_distribution::serve(config.clone(), &tasks).await.unwrap().store;
        Self { folder, config, tasks, store }
    }

    /// Ends and starts again, on the same folders.
    pub async fn restart_with(self, gc: &str) -> Self {
        self.tasks.drain(Duration::from_secs(5)).await;
        self.store.close().await;
        Self::start_in(self.folder, gc).await
    }

    pub fn clients(&self) -> Clients {
        Clients::new(&self.config)
    }

    pub async fn stop(self) {
        self.tasks.drain(Duration::from_secs(5)).await;
    }
}

/// Neighbours that have nothing.
pub fn neighbours(config: &Config, tasks: &Tasks) {
    fs_err::create_dir_all(&config.state).unwrap();
    for service in [Service::Bundle, Service::Runtime] {
        berth_grpc::server::serve(&config.socket(service), 0o600, nothing(), tasks).unwrap();
    }
}

/// What a neighbour that has nothing answers.
pub fn nothing() -> tonic::service::Routes {
    tonic::service::Routes::default()
        .add_service(node::collector_server::CollectorServer::new(Nothing))
        .add_service(node::lease_member_server::LeaseMemberServer::new(Nothing))
        .add_service(node::namespace_member_server::NamespaceMemberServer::new(Nothing))
}

struct Nothing;
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl node::collector_server::Collector for Nothing {
    type NodesStream = futures::stream::Empty<Result<node::Node, Status>>;
    async fn begin(&self, _: Request<node::BeginRequest>) -> Answer<node::BeginResponse> {
        Ok(Response::new(node::BeginResponse { incarnation: 1 }))
    }
    async fn nodes(&self, _: Request<node::NodesRequest>) -> Answer<Self::NodesStream> {
        Ok(Response::new(futures::stream::empty()))
    }
    async fn sweep(&self, _: Request<node::SweepRequest>) -> Answer<node::SweepResponse> {
        Ok(Response::new(node::SweepResponse::default()))
    }
    async fn clear(&self, _: Request<node::ClearRequest>) -> Answer<node::ClearResponse> {
        Ok(Response::new(node::ClearResponse {}))
    }
    async fn end(&self, _: Request<node::EndRequest>) -> Answer<node::EndResponse> {
        Ok(Response::new(node::EndResponse {}))
    }
    async fn pin(&self, _: Request<node::PinRequest>) -> Answer<node::PinResponse> {
        Ok(Response::new(node::PinResponse {}))
    }
}

#[tonic::async_trait]
impl node::lease_member_server::LeaseMember for Nothing {
    async fn add(
        &self,
        _: Request<node::AddLeaseResourceRequest>,
    ) -> Answer<node::AddLeaseResourceResponse> {
        Ok(Response::new(node::AddLeaseResourceResponse {}))
    }
    async fn remove(
        &self,
        _: Request<node::RemoveLeaseResourceRequest>,
    ) -> Answer<node::RemoveLeaseResourceResponse> {
        Ok(Response::new(node::RemoveLeaseResourceResponse {}))
    }
    async fn list(
        &self,
        _: Request<node::ListLeaseResourcesRequest>,
    ) -> Answer<node::ListLeaseResourcesResponse> {
        Ok(Response::new(node::ListLeaseResourcesResponse::default()))
    }
}

#[tonic::async_trait]
impl node::namespace_member_server::NamespaceMember for Nothing {
    async fn fence(&self, _: Request<node::FenceRequest>) -> Answer<node::FenceResponse> {
        Ok(Response::new(node::FenceResponse {}))
    }
    async fn usage(
        &self,
        request: Request<node::NamespaceUsageRequest>,
    ) -> Answer<node::NamespaceUsageResponse> {
        let busy = request.get_ref().namespace == "busy";
        let counts = [("snapshots/overlayfs".to_owned(), u64::from(busy))].into();
        Ok(Response::new(node::NamespaceUsageResponse { counts }))
    }
}

/// Neighbours that remember their fences.
#[derive(Clone, Default)]
pub struct Fences(Arc<std::sync::Mutex<State>>);

#[derive(Default)]
struct State {
    up: HashSet<(Service, String)>,
    held: bool,
}

struct Fenced(Fences, Service);

impl Fences {
    /// Does not answer what a namespace has until it is released.
    pub fn hold(&self) {
        self.0.lock().unwrap().held = true;
    }

    pub fn release(&self) {
        self.0.lock().unwrap().held = false;
    }

    pub fn routes(&self, service: Service) -> tonic::service::Routes {
        let member = Fenced(self.clone(), service);
        tonic::service::Routes::default()
            .add_service(node::namespace_member_server::NamespaceMemberServer::new(member))
    }

    /// Waits until the fences that are up are as wanted.
    pub async fn until(&self, wanted: impl Fn(&HashSet<(Service, String)>) -> bool) {
        let waiting = async {
            while !wanted(&self.0.lock().unwrap().up) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("fences as wanted");
    }
}

#[tonic::async_trait]
impl node::namespace_member_server::NamespaceMember for Fenced {
    async fn fence(&self, request: Request<node::FenceRequest>) -> Answer<node::FenceResponse> {
        let node::FenceRequest { namespace, up } = request.into_inner();
        let (key, state) = ((self.1, namespace), &mut self.0.0.lock().unwrap().up);
        if up {
            state.insert(key)
        } else {
            state.remove(&key)
        };
        Ok(Response::new(node::FenceResponse {}))
    }
    async fn usage(
        &self,
        _: Request<node::NamespaceUsageRequest>,
    ) -> Answer<node::NamespaceUsageResponse> {
        if self.0.0.lock().unwrap().held {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(node::NamespaceUsageResponse::default()))
    }
}

/// Clients of every service.
#[derive(Clone)]
pub struct Clients {
    pub content: ContentClient<Channel>,
    pub images: ImagesClient<Channel>,
    pub leases: LeasesClient<Channel>,
    pub namespaces: NamespacesClient<Channel>,
    pub events: node::node_events_client::NodeEventsClient<Channel>,
    pub collection: node::collection_client::CollectionClient<Channel>,
    pub blobs: node::blobs_client::BlobsClient<Channel>,
}

impl Clients {
    pub fn new(config: &Config) -> Self {
        let channel = channel(&config.socket(Service::Distribution));
        Self {
            content: ContentClient::new(channel.clone()).max_decoding_message_size(16 << 20),
            images: ImagesClient::new(channel.clone()),
            leases: LeasesClient::new(channel.clone()),
            namespaces: NamespacesClient::new(channel.clone()),
            events: node::node_events_client::NodeEventsClient::new(channel.clone()),
            collection: node::collection_client::CollectionClient::new(channel.clone()),
            blobs: node::blobs_client::BlobsClient::new(channel),
        }
    }

    /// One session of messages; what was answered before it ended.
    pub async fn session(
        &mut self,
        lease: &str,
        messages: Vec<WriteContentRequest>,
    ) -> (Vec<WriteContentResponse>, Result<(), Status>) {
        self.session_in(NAMESPACE, lease, messages).await
    }

    /// The same in another namespace.
    pub async fn session_in(
        &mut self,
        namespace: &str,
        lease: &str,
        messages: Vec<WriteContentRequest>,
    ) -> (Vec<WriteContentResponse>, Result<(), Status>) {
        let request = on(namespace, futures::stream::iter(messages));
        let request = if lease.is_empty() { request } else { with_lease(request, lease).unwrap() };
        let mut answers = Vec::new();
        let mut stream = match self.content.write(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return (answers, Err(status)),
        };
        loop {
            match stream.message().await {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) => return (answers, Ok(())),
                Err(status) => return (answers, Err(status)),
            }
        }
    }

    /// Writes and commits a blob; answers its digest.
    pub async fn put(
        &mut self,
        lease: &str,
        bytes: &[u8],
        labels: &[(&str, &str)],
    ) -> Result<String, Status> {
        let digest = digest(bytes);
        let commit = WriteContentRequest {
            labels: pairs(labels),
            total: bytes.len() as i64,
            ..message(WriteAction::Commit, &format!("ref-{digest}"), 0, bytes)
        };
        self.session(lease, vec![commit]).await.1.map(|()| digest)
    }
}

pub fn message(
    action: WriteAction,
    reference: &str,
    offset: i64,
    data: &[u8],
) -> WriteContentRequest {
    WriteContentRequest {
        action: action.into(),
        r#ref: reference.to_owned(),
        offset,
        data: Bytes::copy_from_slice(data),
        ..Default::default()
    }
}

pub fn on<T>(namespace: &str, message: T) -> Request<T> {
    let namespace: Namespace = namespace.parse().unwrap();
    with_namespace(message, &namespace)
}

pub fn digest(bytes: &[u8]) -> String {
    berth_distribution::content::hash::sha256(bytes).to_string()
}

pub fn pairs(labels: &[(&str, &str)]) -> HashMap<String, String> {
    labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Numbers that look random and come again with the same seed (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}
