//! What kubelets ask about the node itself.

use std::collections::HashMap;

use berth_config::Cri;
use berth_proto::runtime::v1 as wire;
use serde_json::json;

use crate::Result;
use crate::peers::{Node, networks};

/// Where systemd runs the machine.
const SYSTEMD: &str = "/run/systemd/system";

/// How the node is: whether it can run pods, and attach them to a network.
///
/// # Errors
/// None: what does not answer is what is told.
pub async fn status(node: &Node, cri: &Cri, verbose: bool) -> Result<wire::StatusResponse> {
    let condition = |kind: &str, status, reason: &str, message: String| wire::RuntimeCondition {
        r#type: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
    };
    let network = match networks::trouble(node).await {
        None => condition("NetworkReady", true, "", String::new()),
        Some(why) => {
            let message = format!("Network plugin returns error: {why}");
            condition("NetworkReady", false, "NetworkPluginNotReady", message)
        }
    };
    let conditions = vec![
        condition("RuntimeReady", true, "", String::new()),
        network,
        condition("ContainerdHasNoDeprecationWarnings", true, "", String::new()),
    ];
    let features = wire::RuntimeFeatures { supplemental_groups_policy: true, ..Default::default() };
    Ok(wire::StatusResponse {
        status: Some(wire::RuntimeStatus { conditions }),
        info: if verbose { info(cri) } else { HashMap::new() },
        runtime_handlers: handlers(cri),
        features: Some(features),
    })
}

/// Each that is configured, and the one without a name, which is the usual one.
fn handlers(cri: &Cri) -> Vec<wire::RuntimeHandler> {
    let names = std::iter::once("").chain(cri.runtimes.keys().map(|name| &**name));
    names.map(|name| wire::RuntimeHandler { name: name.to_owned(), ..Default::default() }).collect()
}

fn info(cri: &Cri) -> HashMap<String, String> {
    let runtimes = cri.runtimes.iter().map(|(name, handler)| {
        let options =
            json!({ "SystemdCgroup": handler.systemd_cgroup, "BinaryName": handler.binary });
        (name.clone(), json!({ "runtimeType": handler.runtime_type, "options": options }))
    });
    let config = json!({
        "containerd": {
            "defaultRuntimeName": cri.default_runtime_name,
            "runtimes": runtimes.collect::<serde_json::Map<_, _>>(),
        },
        "snapshotter": cri.snapshotter,
    });
    [("config".to_owned(), config.to_string())].into()
}

/// By what control groups are made: what the usual handler says, or the machine.
#[must_use]
pub fn cgroup_driver(cri: &Cri) -> wire::CgroupDriver {
    match cri.runtimes.get(&cri.default_runtime_name) {
        Some(handler) if handler.systemd_cgroup => wire::CgroupDriver::Systemd,
        Some(_) => wire::CgroupDriver::Cgroupfs,
        None if std::path::Path::new(SYSTEMD).is_dir() => wire::CgroupDriver::Systemd,
        None => wire::CgroupDriver::Cgroupfs,
    }
}
