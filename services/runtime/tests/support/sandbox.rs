//! Sandboxes as clients of the controller make them and ask for them.

use std::path::Path;

use berth_grpc::Channel;
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::sandbox::v1 as wire;
use berth_proto::containerd::types::{Sandbox, sandbox::Runtime};
use tonic::Status;
use wire::controller_client::ControllerClient;
use wire::store_client::StoreClient;

use super::{Node, ns};

/// The name of the service's own controller.
pub const SHIM: &str = "shim";

/// A service that has sandboxes of the controller on a socket, which it calls `theirs`.
pub async fn with_controller(socket: &Path, timeout: &str) -> Node {
    let mut ours = Node::start().await;
    let config = format!(
        "[proxy_plugins.theirs]\ntype = \"sandbox\"\naddress = {socket:?}\n\
         sandboxer = \"shim\"\ntimeout = {timeout:?}\nplatform = \"linux/amd64\"\n\
         capabilities = [\"one\"]\nexports = {{ root = \"/there\" }}\n"
    );
    std::fs::write(ours.folder.path().join("berth.toml"), config).unwrap();
    ours.kill_and_restart().await;
    ours
}

/// Two services, of which the first has sandboxes of the second, which it calls `theirs`.
pub async fn two(timeout: &str) -> (Node, Node) {
    let theirs = Node::start().await;
    let ours = with_controller(&theirs.folder.path().join("run/runtime.sock"), timeout).await;
    (ours, theirs)
}

/// Our shim as it is.
fn shim() -> String {
    super::shims().pop().unwrap()
}

/// One of the controller's sandboxes, as our own service is asked for it.
pub fn ours_of(node: &Node, id: &str) -> Pod {
    Pod::new(node, "theirs", &shim(), id)
}

/// As the one that runs it is asked.
pub fn theirs_of(node: &Node, id: &str) -> Pod {
    Pod::new(node, SHIM, &shim(), id)
}

/// The calls of a controller, of one sandbox.
#[derive(Clone)]
pub struct Pod {
    pub channel: Channel,
    pub id: String,
    /// Whose it is.
    pub sandboxer: String,
    /// What it is made by.
    pub shim: String,
}

macro_rules! calls {
    ($($method:ident: $request:ident -> $response:ident;)*) => {
        $(#[allow(clippy::needless_update, reason = "some have more fields")]
        pub async fn $method(&self) -> Result<wire::$response, Status> {
            let (sandbox_id, sandboxer) = (self.id.clone(), self.sandboxer.clone());
            let request = wire::$request { sandbox_id, sandboxer, ..Default::default() };
            Ok(self.client().$method(ns(request)).await?.into_inner())
        })*
    };
}

impl Pod {
    /// One that `sandboxer` runs, as the service is asked for it.
    pub fn new(node: &Node, sandboxer: &str, shim: &str, id: &str) -> Self {
        let (sandboxer, shim, id) = (sandboxer.to_owned(), shim.to_owned(), id.to_owned());
        Self { channel: node.channel.clone(), id, sandboxer, shim }
    }

    pub fn client(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    fn store(&self) -> StoreClient<Channel> {
        StoreClient::new(self.channel.clone())
    }

    calls! {
        start: ControllerStartRequest -> ControllerStartResponse;
        platform: ControllerPlatformRequest -> ControllerPlatformResponse;
        stop: ControllerStopRequest -> ControllerStopResponse;
        wait: ControllerWaitRequest -> ControllerWaitResponse;
        status: ControllerStatusRequest -> ControllerStatusResponse;
        shutdown: ControllerShutdownRequest -> ControllerShutdownResponse;
        metrics: ControllerMetricsRequest -> ControllerMetricsResponse;
        update: ControllerUpdateRequest -> ControllerUpdateResponse;
    }

    /// Its record.
    pub fn sandbox(&self) -> Sandbox {
        let runtime = Some(Runtime { name: self.shim.clone(), options: None });
        let (sandbox_id, sandboxer) = (self.id.clone(), self.sandboxer.clone());
        Sandbox { sandbox_id, runtime, sandboxer, ..Default::default() }
    }

    /// Records it.
    pub async fn record(&self) {
        let request = wire::StoreCreateRequest { sandbox: Some(self.sandbox()) };
        self.store().create(ns(request)).await.unwrap();
    }

    /// Takes its record away.
    pub async fn unrecord(&self) {
        let request = wire::StoreDeleteRequest { sandbox_id: self.id.clone() };
        self.store().delete(ns(request)).await.unwrap();
    }

    pub async fn create(&self) -> Result<(), Status> {
        self.create_as(self.sandbox()).await
    }

    /// Makes it of another record than its own.
    pub async fn create_as(&self, sandbox: Sandbox) -> Result<(), Status> {
        let request = wire::ControllerCreateRequest {
            sandbox_id: self.id.clone(),
            sandboxer: self.sandboxer.clone(),
            sandbox: Some(sandbox),
            netns_path: "/proc/self/ns/net".into(),
            annotations: [("a".to_owned(), "b".to_owned())].into(),
            ..Default::default()
        };
        self.client().create(ns(request)).await.map(drop)
    }

    /// Records and makes it.
    pub async fn make(&self) {
        self.record().await;
        self.create().await.unwrap();
    }

    /// Has its labels changed to what they are.
    pub async fn update_labels(&self) -> Result<(), Status> {
        let request = wire::ControllerUpdateRequest {
            sandbox_id: self.id.clone(),
            sandboxer: self.sandboxer.clone(),
            sandbox: Some(self.sandbox()),
            fields: vec!["labels".into()],
        };
        self.client().update(ns(request)).await.map(drop)
    }

    /// Records a container of it.
    pub async fn member(&self, node: &Node, id: &str) {
        let container = containers::Container {
            sandbox: self.id.clone(),
            ..super::container(&self.shim, id, "while :; do sleep 1000; done")
        };
        let request = containers::CreateContainerRequest { container: Some(container) };
        node.containers().create(ns(request)).await.unwrap();
    }
}
