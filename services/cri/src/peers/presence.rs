//! Which of the other services are there.

use std::time::Duration;

use berth_grpc::Channel;
use berth_proto::containerd::services::introspection::v1::PluginsRequest;
use berth_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use tokio::time::timeout;

use super::{Node, call};

/// How long one may take to answer what costs it nothing.
const PATIENCE: Duration = Duration::from_secs(2);
/// No service has a plugin of this kind: the answer is short.
const NONE: &str = "type==none";

/// Why pods cannot be run: each service without which none is made and which does not answer, with its socket. All are
/// asked at once. `None` if all answer.
pub async fn trouble(node: &Node) -> Option<String> {
    let [distribution, bundle, runtime] = &*node.sockets;
    let (first, second, third) = tokio::join!(
        silence(node.runtimes()),
        silence(node.snapshotters()),
        silence(node.records()),
    );
    let told = [
        ("runtime", runtime, first),
        ("bundle", bundle, second),
        ("distribution", distribution, third),
    ];
    let silent = told.into_iter().filter_map(|(what, socket, why)| {
        Some(format!("{what} at {} does not answer: {}", socket.display(), why?))
    });
    let silent: Vec<_> = silent.collect();
    (!silent.is_empty()).then(|| silent.join("; "))
}

/// Why it does not answer, if it does not.
async fn silence(mut client: IntrospectionClient<Channel>) -> Option<String> {
    let request = PluginsRequest { filters: vec![NONE.to_owned()] };
    match timeout(PATIENCE, client.plugins(call(request, PATIENCE))).await {
        Ok(Ok(_)) => None,
        Ok(Err(status)) => Some(status.message().to_owned()),
        Err(_) => Some(format!("nothing was heard within {PATIENCE:?}")),
    }
}
