//! `containerd.services.introspection.v1.Introspection`: this service's part of the node's plugins.

use berth_grpc::status;
use berth_introspection::kind::{
    CONTAINER_MONITOR, EVENT, GRPC, METADATA, MOUNT_MANAGER, RUNTIME, SANDBOX_CONTROLLER,
    SANDBOX_STORE, SERVICE, SHIM, TTRPC, WARNING,
};
use berth_introspection::{Described, plugin, proxy};
use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::services::introspection::v1 as wire;
use berth_proto::containerd::services::tasks::v1::CreateTaskRequest;
use berth_proto::containerd::types::{RuntimeInfo, RuntimeRequest};
use berth_proto::{pack, unpack};
use prost::Message;
use tonic::{Request, Response, Status};

use super::wire::time;
use crate::error::Error;
use crate::sandboxes::{SHIM as SHIM_SANDBOXER, Sandboxers};
use crate::shims::Launcher;
use crate::warnings::{Deprecation, Warnings};

/// Serves plugins and deprecations.
pub(super) struct Service {
    pub(super) launcher: Launcher,
    pub(super) sandboxers: Sandboxers,
    pub(super) warnings: Warnings,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl wire::introspection_server::Introspection for Service {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Answer<wire::PluginsResponse> {
        let filters = request.into_inner().filters;
        let plugins = berth_introspection::matching(self.plugins_here(), &filters)?;
        Ok(Response::new(wire::PluginsResponse { plugins }))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Answer<wire::PluginInfoResponse> {
        let asked = request.into_inner();
        let plugin = berth_introspection::find(self.plugins_here(), &asked)?;
        let options = asked.options.as_ref();
        let Some(request) =
            options.and_then(unpack::<RuntimeRequest>).filter(|_| plugin.r#type == RUNTIME)
        else {
            return berth_introspection::info(vec![plugin], &asked);
        };
        let request = request
            .map_err(|e| status(Error::Invalid(format!("decode options of plugin info: {e}"))))?;
        let extra = Some(pack(&self.runtime(&request).await.map_err(status)?));
        Ok(Response::new(wire::PluginInfoResponse { plugin: Some(plugin), extra }))
    }

    /// This service's part of it, which the gateway adds to the rest.
    async fn server(&self, _request: Request<()>) -> Answer<wire::ServerResponse> {
        let told = self.warnings.all().into_iter().map(|(used, at)| wire::DeprecationWarning {
            id: used.id().into(),
            message: used.message().into(),
            last_occurrence: time(at),
        });
        let deprecations = told.collect();
        Ok(Response::new(wire::ServerResponse { deprecations, ..Default::default() }))
    }
}

impl Service {
    fn plugins_here(&self) -> Vec<wire::Plugin> {
        let theirs = self.sandboxers.proxied().map(|theirs| {
            let (id, terms) = (theirs.name(), theirs.terms());
            let (exports, capabilities) = (&terms.exports, &terms.capabilities);
            proxy(SANDBOX_CONTROLLER, id, &terms.platform, exports, capabilities)
        });
        plugins().into_iter().chain(theirs).collect()
    }

    async fn runtime(&self, request: &RuntimeRequest) -> Result<RuntimeInfo, Error> {
        let options = request.options.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        let program = self.launcher.resolve(&request.runtime_path)?;
        let printed = self.launcher.ask(&program, "-info", &options).await?;
        RuntimeInfo::decode(printed)
            .map_err(|e| Error::Invalid(format!("decode runtime information: {e}")))
    }
}

/// What a creation uses that is to go: parameters of sandboxes among runc's, where they count.
pub(super) fn deprecated(create: &CreateTaskRequest) -> impl Iterator<Item = Deprecation> {
    let options = create.options.as_ref().and_then(unpack::<Options>);
    // What cannot be read is refused by whoever needs it.
    let options = options.and_then(Result::ok).unwrap_or_default();
    let address = create.task_api_address.is_empty() && !options.task_api_address.is_empty();
    let version = create.task_api_version == 0 && options.task_api_version != 0;
    let address = address.then_some(Deprecation::TaskApiAddress);
    address.into_iter().chain(version.then_some(Deprecation::TaskApiVersion))
}

fn plugins() -> Vec<wire::Plugin> {
    vec![
        plugin(RUNTIME, "task", &[SHIM, MOUNT_MANAGER, WARNING])
            .on_host()
            .exports("log-uri-schemes", "fifo,binary,binary-v2,file"),
        plugin(SHIM, "manager", &[EVENT, METADATA]),
        plugin(SANDBOX_STORE, "local", &[METADATA]),
        plugin(SANDBOX_CONTROLLER, SHIM_SANDBOXER, &[SHIM, EVENT]),
        plugin(CONTAINER_MONITOR, "restart", &[EVENT, SERVICE]).can(&[
            "no",
            "always",
            "on-failure",
            "unless-stopped",
        ]),
        plugin(SERVICE, "containers-service", &[EVENT, METADATA]),
        plugin(SERVICE, "tasks-service", &[EVENT, METADATA, RUNTIME, WARNING]),
        plugin(GRPC, "containers", &[SERVICE]),
        plugin(GRPC, "sandboxes", &[SANDBOX_STORE]),
        plugin(GRPC, "sandbox-controllers", &[SANDBOX_CONTROLLER, EVENT]),
        plugin(GRPC, "tasks", &[SERVICE]),
        plugin(TTRPC, "events", &[EVENT]),
    ]
}
