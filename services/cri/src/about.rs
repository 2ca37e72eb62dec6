//! What kubelets ask about the node itself.

use berth_config::Cri;
use berth_proto::runtime::v1 as wire;

use crate::Result;
use crate::details::Details;
use crate::features::Features;
use crate::peers::{Node, networks, presence};

/// Where systemd runs the machine.
const SYSTEMD: &str = "/run/systemd/system";

/// How the node is: whether it can run pods, and attach them to a network; with details if there are any to tell.
///
/// # Errors
/// None: what does not answer is what is told.
pub async fn status(
    node: &Node,
    cri: &Cri,
    features: &Features,
    details: Option<&Details>,
) -> Result<wire::StatusResponse> {
    let (silent, handlers) = tokio::join!(presence::trouble(node), handlers(cri, features));
    // Networks are runtime's: nobody waits for one that is silent.
    let trouble = match &silent {
        Some(silent) => Some(silent.clone()),
        None => networks::trouble(node).await,
    };
    let condition = |kind: &str, status, reason: &str, message: String| wire::RuntimeCondition {
        r#type: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
    };
    let network = match &trouble {
        None => condition("NetworkReady", true, "", String::new()),
        Some(why) => {
            let message = format!("Network plugin returns error: {why}");
            condition("NetworkReady", false, "NetworkPluginNotReady", message)
        }
    };
    let runtime = match silent {
        None => condition("RuntimeReady", true, "", String::new()),
        Some(silent) => condition("RuntimeReady", false, "RuntimeNotReady", silent),
    };
    let conditions = vec![
        runtime,
        network,
        condition("ContainerdHasNoDeprecationWarnings", true, "", String::new()),
    ];
    let all = wire::RuntimeFeatures {
        supplemental_groups_policy: true,
        user_namespaces_host_network: true,
        ..Default::default()
    };
    Ok(wire::StatusResponse {
        status: Some(wire::RuntimeStatus { conditions }),
        info: details.map(|details| details.tell(trouble.as_deref())).unwrap_or_default(),
        runtime_handlers: handlers,
        features: Some(all),
    })
}

/// Each that is configured, by name, after the one without a name, which is the usual one.
async fn handlers(cri: &Cri, features: &Features) -> Vec<wire::RuntimeHandler> {
    let usual = ("", &cri.default_runtime_name);
    let named = cri.runtimes.keys().map(|name| (&**name, name));
    let told = std::iter::once(usual).chain(named).map(|(name, handler)| async move {
        wire::RuntimeHandler { name: name.to_owned(), features: features.of(handler).await }
    });
    futures::future::join_all(told).await
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
