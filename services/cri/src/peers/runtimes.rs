//! What runtimes tell of themselves.

use berth_proto::containerd::services::introspection::v1::PluginInfoRequest;
use berth_proto::containerd::types::{RuntimeInfo, RuntimeRequest};
use berth_proto::{pack, unpack};

use super::{Node, Packed, QUICK, call, refused};
use crate::{Error, Result};

/// The plugin that runs shims.
const PLUGIN: (&str, &str) = ("io.containerd.runtime.v2", "task");

/// What the program below a shim says that it can do: a JSON document of the OCI. `None` if it says nothing. It is
/// runtime that asks, by starting the shim for that.
///
/// # Errors
/// [`Error::Peer`], [`Error::Unreadable`].
pub async fn features(
    node: &Node,
    shim: &str,
    options: Option<Packed>,
) -> Result<Option<serde_json::Value>> {
    let options = options.map(Into::into);
    let asked = RuntimeRequest { runtime_path: shim.to_owned(), options };
    let request = PluginInfoRequest {
        r#type: PLUGIN.0.to_owned(),
        id: PLUGIN.1.to_owned(),
        options: Some(pack(&asked)),
    };
    let answer = node.runtimes().plugin_info(call(request, QUICK)).await;
    let extra = answer.map_err(refused("ask for features of runtime"))?.into_inner().extra;
    let unreadable = |why: String| Error::Unreadable { what: "features", id: shim.to_owned(), why };
    let info = extra.as_ref().and_then(unpack::<RuntimeInfo>);
    let info = info.transpose().map_err(|error| unreadable(error.to_string()))?;
    let Some(features) = info.and_then(|info| info.features) else { return Ok(None) };
    let told = serde_json::from_slice(&features.value);
    told.map(Some).map_err(|error| unreadable(error.to_string()))
}
