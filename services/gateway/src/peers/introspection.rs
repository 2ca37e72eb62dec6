//! What a service tells about itself.

use std::time::Duration;

use berth_grpc::NODE_MESSAGE;
use berth_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use berth_proto::containerd::services::introspection::v1::{
    DeprecationWarning, Plugin, PluginInfoRequest, PluginInfoResponse, PluginsRequest,
};
use berth_proto::google::rpc;
use tokio::time::timeout;
use tonic::Status;

use crate::upstreams::Upstream;

/// A service that is being restarted should not keep the others from being listed.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// The type of the entry that stands for a service as a whole.
pub const SERVICE: &str = "io.berth.service.v1";

/// The parts of a service, and an entry for the service itself, which holds the error if it does
/// not answer in time.
pub async fn parts(upstream: Upstream, within: Duration) -> Vec<Plugin> {
    let mut itself = Plugin {
        r#type: SERVICE.into(),
        id: upstream.name().trim_start_matches("berth-").into(),
        ..Plugin::default()
    };
    let mut client = IntrospectionClient::new(upstream.calls().clone());
    let asked = client.plugins(PluginsRequest { filters: Vec::new() });
    let mut parts = match answered(asked, upstream.within(within)).await {
        Ok(answer) => answer.plugins,
        Err(status) => {
            let (code, message) = (status.code() as i32, status.message().to_owned());
            itself.init_err = Some(rpc::Status { code, message, details: Vec::new() });
            Vec::new()
        }
    };
    parts.push(itself);
    parts
}

/// The lasting identity of the node, which one service keeps.
///
/// # Errors
/// Why that service does not tell.
pub async fn uuid(upstream: Upstream) -> Result<String, Status> {
    let mut client = IntrospectionClient::new(upstream.calls().clone());
    in_time(client.server(())).await.map(|server| server.uuid)
}

/// What a service has noticed of uses that are to go; nothing while it is away.
pub async fn deprecations(upstream: Upstream) -> Vec<DeprecationWarning> {
    let mut client = IntrospectionClient::new(upstream.calls().clone());
    match in_time(client.server(())).await {
        Ok(server) => server.deprecations,
        Err(status) => {
            tracing::warn!(service = upstream.name(), %status, "ask for deprecations");
            Vec::new()
        }
    }
}

/// What a service tells of one plugin. A program that it asks may take its time.
///
/// # Errors
/// NOT_FOUND of those that do not have it; why it cannot tell.
pub async fn plugin_info(
    upstream: &Upstream,
    asked: PluginInfoRequest,
) -> Result<tonic::Response<PluginInfoResponse>, Status> {
    let mut client = IntrospectionClient::new(upstream.calls().clone())
        .max_decoding_message_size(NODE_MESSAGE)
        .max_encoding_message_size(NODE_MESSAGE);
    let answer = client.plugin_info(asked).await?;
    Ok(tonic::Response::new(answer.into_inner()))
}

async fn in_time<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    answered(call, DEADLINE).await
}

async fn answered<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    within: Duration,
) -> Result<T, Status> {
    match timeout(within, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::unavailable(format!("no answer within {within:?}: unavailable"))),
    }
}
