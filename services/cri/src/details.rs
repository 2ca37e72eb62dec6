//! What `Status` tells who wants details: the configuration, in containerd's names, and how networks are.

use std::collections::HashMap;

use berth_config::{Config, Cri, Handler, Service};
use serde_json::{Map, Value, json};

/// The prefix of interfaces in pods.
const INTERFACES: &str = "eth";

/// What does not change while this service runs.
#[derive(Debug)]
pub struct Details {
    config: String,
    networks: String,
}

impl Details {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let networks = json!({
            "PluginDirs": config.network.bin_dirs,
            "PluginConfDir": config.network.conf_dir,
            "PluginMaxConfNum": config.network.max_conf_num,
            "Prefix": INTERFACES,
        });
        Self { config: told(config).to_string(), networks: networks.to_string() }
    }

    /// All of it, with what keeps pods from their network, if something does.
    #[must_use]
    pub fn tell(&self, trouble: Option<&str>) -> HashMap<String, String> {
        let loaded = trouble.unwrap_or("OK");
        let info = [
            ("config", &*self.config),
            ("cniconfig", &*self.networks),
            ("lastCNILoadStatus", loaded),
        ];
        info.map(|(name, text)| (name.to_owned(), text.to_owned())).into()
    }
}

fn told(config: &Config) -> Value {
    let (cri, network) = (&config.cri, &config.network);
    let Cri { default_runtime_name, snapshotter, .. } = cri;
    let runtimes: Map<_, _> =
        cri.runtimes.iter().map(|(name, handler)| (name.clone(), told_of(handler))).collect();
    json!({
        "containerd": { "defaultRuntimeName": default_runtime_name, "runtimes": runtimes },
        "snapshotter": snapshotter,
        "cni": {
            "binDirs": network.bin_dirs,
            "confDir": network.conf_dir,
            "maxConfNum": network.max_conf_num,
        },
        "enableUnprivilegedPorts": cri.enable_unprivileged_ports,
        "enableUnprivilegedICMP": cri.enable_unprivileged_icmp,
        "restrictOOMScoreAdj": cri.restrict_oom_score_adj,
        "streamServerAddress": cri.stream_address,
        "containerdRootDir": config.root,
        "containerdEndpoint": config.address,
        "rootDir": config.service_root(Service::Cri),
        "stateDir": config.service_state(Service::Cri),
    })
}

fn told_of(handler: &Handler) -> Value {
    json!({
        "runtimeType": handler.runtime_type,
        "PodAnnotations": handler.pod_annotations,
        "ContainerAnnotations": handler.container_annotations,
        "options": { "SystemdCgroup": handler.systemd_cgroup, "BinaryName": handler.binary },
        "privileged_without_host_devices": handler.privileged_without_host_devices,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_containerds_names() {
        let details = Details::of(&Config::default());
        let told = details.tell(None);
        assert_eq!(told["lastCNILoadStatus"], "OK");
        assert_eq!(details.tell(Some("none there"))["lastCNILoadStatus"], "none there");
        let config: Value = serde_json::from_str(&told["config"]).unwrap();
        let runc = &config["containerd"]["runtimes"]["runc"];
        assert_eq!(runc["options"]["SystemdCgroup"], false);
        assert_eq!(config["containerd"]["defaultRuntimeName"], "runc");
        let networks: Value = serde_json::from_str(&told["cniconfig"]).unwrap();
        assert_eq!(networks["PluginConfDir"], config["cni"]["confDir"]);
    }
}
