//! Calls to a sandbox controller in a process of its own: containerd's Controller on its socket.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use berth_grpc::time::to_wire;
use berth_grpc::{Channel, MAX_MESSAGE, Settings, told, with_namespace};
use berth_ids::Namespace;
use berth_proto::containerd::services::sandbox::v1 as wire;
use berth_proto::containerd::types;
use tonic::{Request, Response, Status};
use wire::controller_client::ControllerClient;

use super::options::wire as wire_any;
use super::sandboxes::measured;
use super::shim::wire_mount;
use crate::error::{Error, Result};
use crate::process::Exit;
use crate::records::Sandbox;
use crate::sandboxes::{Endpoint, Measured, Platform, Report, Sandboxer, Setup, Started, Work};

/// How long a call waits for a process that is away. Whoever runs it starts it again, or does not.
const WAIT: Duration = Duration::from_secs(5);

/// A controller behind a socket.
pub struct RemoteSandboxer {
    name: String,
    channel: Channel,
    timeout: Duration,
}

impl RemoteSandboxer {
    /// The controller that is configured as `name` behind a socket and calls itself `own`; each call
    /// may take so long. Connects when needed.
    #[must_use]
    pub fn new(name: &str, own: &str, socket: &Path, timeout: Duration) -> Self {
        let service = format!("sandbox controller {name}");
        // So that what is said is that it is away, and not that it is slow.
        let wait = WAIT.min(timeout / 2);
        let advice = "is its process running?".to_owned();
        let settings = Settings { service, wait, advice, greeted: false, ..Settings::of(socket) };
        Self { name: own.to_owned(), channel: Channel::new(socket, settings), timeout }
    }

    fn client(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    fn request<T>(&self, ns: &Namespace, message: T) -> Request<T> {
        self.request_within(ns, message, self.timeout)
    }

    fn request_within<T>(&self, ns: &Namespace, message: T, timeout: Duration) -> Request<T> {
        let mut request = with_namespace(message, ns);
        request.set_timeout(timeout);
        request
    }

    fn names(&self, id: &str) -> (String, String) {
        (id.to_owned(), self.name.clone())
    }
}

/// Its own words, which clients compare, or what kept it from answering.
async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    let refused = |status: Status| {
        let (code, message) = told(&status, "sandbox controller");
        Error::Sandboxer { code, message }
    };
    call.await.map(Response::into_inner).map_err(refused)
}

impl Sandboxer for RemoteSandboxer {
    fn create<'a>(&'a self, ns: &'a Namespace, sandbox: Sandbox, setup: Setup) -> Work<'a, ()> {
        let (sandbox_id, sandboxer) = self.names(&sandbox.id);
        let ask = wire::ControllerCreateRequest {
            sandbox_id,
            rootfs: setup.rootfs.iter().map(wire_mount).collect(),
            options: setup.options.as_ref().map(wire_any),
            netns_path: setup.netns_path,
            annotations: setup.annotations.into_iter().collect(),
            sandbox: Some(self.sandbox(sandbox)),
            sandboxer,
        };
        Box::pin(async move { answer(self.client().create(self.request(ns, ask))).await.map(drop) })
    }

    fn start<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, (Started, Endpoint)> {
        let (sandbox_id, sandboxer) = self.names(id);
        let ask = wire::ControllerStartRequest { sandbox_id, sandboxer };
        Box::pin(async move {
            let told = answer(self.client().start(self.request(ns, ask))).await?;
            let endpoint = Endpoint { address: told.address.clone(), version: told.version };
            let labels = told.labels.clone().into_iter().collect();
            Ok((Started { labels, ..told.into() }, endpoint))
        })
    }

    fn platform<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Platform> {
        let (sandbox_id, sandboxer) = self.names(id);
        let ask = wire::ControllerPlatformRequest { sandbox_id, sandboxer };
        Box::pin(async move {
            let told = answer(self.client().platform(self.request(ns, ask))).await?;
            Ok(told.into())
        })
    }

    fn stop<'a>(&'a self, ns: &'a Namespace, id: &'a str, seconds: u32) -> Work<'a, ()> {
        let (sandbox_id, sandboxer) = self.names(id);
        let ask = wire::ControllerStopRequest { sandbox_id, timeout_secs: seconds, sandboxer };
        let within = self.timeout + Duration::from_secs(seconds.into());
        Box::pin(async move {
            let request = self.request_within(ns, ask, within);
            answer(self.client().stop(request)).await.map(drop)
        })
    }

    fn wait<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Exit> {
        let (sandbox_id, sandboxer) = self.names(id);
        let ask = wire::ControllerWaitRequest { sandbox_id, sandboxer };
        Box::pin(async move {
            let told = answer(self.client().wait(with_namespace(ask, ns))).await?;
            Ok(told.into())
        })
    }

    fn status<'a>(
        &'a self,
        ns: &'a Namespace,
        id: &'a str,
        verbose: bool,
    ) -> Work<'a, (Report, Endpoint)> {
        let (sandbox_id, sandboxer) = self.names(id);
        let ask = wire::ControllerStatusRequest { sandbox_id, verbose, sandboxer };
        Box::pin(async move {
            let told = answer(self.client().status(self.request(ns, ask))).await?;
            let endpoint = Endpoint { address: told.address.clone(), version: told.version };
            Ok((Report { id: id.to_owned(), ..told.into() }, endpoint))
        })
    }

    fn shutdown<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, ()> {
        let (sandbox_id, sandboxer) = self.names(id);
        let ask = wire::ControllerShutdownRequest { sandbox_id, sandboxer };
        Box::pin(
            async move { answer(self.client().shutdown(self.request(ns, ask))).await.map(drop) },
        )
    }

    fn metrics<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Option<Measured>> {
        let (sandbox_id, sandboxer) = self.names(id);
        let ask = wire::ControllerMetricsRequest { sandbox_id, sandboxer };
        Box::pin(async move {
            let told = answer(self.client().metrics(self.request(ns, ask))).await?;
            Ok(measured(told.metrics))
        })
    }

    /// containerd's leaves out the controller's name, which ours asks for.
    fn update<'a>(
        &'a self,
        ns: &'a Namespace,
        id: &'a str,
        sandbox: Sandbox,
        fields: Vec<String>,
    ) -> Work<'a, ()> {
        let (sandbox_id, sandboxer) = self.names(id);
        let sandbox = Some(self.sandbox(sandbox));
        let ask = wire::ControllerUpdateRequest { sandbox_id, sandboxer, sandbox, fields };
        Box::pin(async move { answer(self.client().update(self.request(ns, ask))).await.map(drop) })
    }
}

impl RemoteSandboxer {
    /// A sandbox as the controller knows it: by the name that it calls itself.
    fn sandbox(&self, sandbox: Sandbox) -> types::Sandbox {
        let Sandbox { id, runtime, spec, labels, extensions, created, updated, .. } = sandbox;
        let options = runtime.options.as_ref().map(wire_any);
        let runtime = types::sandbox::Runtime { name: runtime.name, options };
        let extensions = extensions.iter().map(|(name, any)| (name.clone(), wire_any(any)));
        types::Sandbox {
            sandbox_id: id,
            runtime: Some(runtime),
            spec: spec.as_ref().map(wire_any),
            labels: labels.into_iter().collect(),
            created_at: Some(to_wire(created)),
            updated_at: Some(to_wire(updated)),
            extensions: extensions.collect(),
            sandboxer: self.name.clone(),
        }
    }
}
