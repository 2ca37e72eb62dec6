//! What a plugin reads: its part of the network's configuration, and what the operation adds to it.

use serde_json::{Map, Value, json};

use crate::conf::PluginConf;
use crate::{AttachmentId, Network};

/// Keys of this prefix are the runtime's alone.
const OURS: &str = "cni.dev/";

/// Of an operation on an attachment.
pub(super) fn of_attachment(
    network: &Network,
    plugin: &PluginConf,
    capabilities: &Map<String, Value>,
    previous: Option<&Value>,
) -> Vec<u8> {
    let mut keys = of_plugin(network, plugin);
    keys.remove("capabilities");
    let told = capabilities.iter().filter(|(name, _)| plugin.capabilities.contains(*name));
    let told: Map<_, _> = told.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !told.is_empty() {
        keys.insert("runtimeConfig".to_owned(), Value::Object(told));
    }
    if let Some(previous) = previous {
        keys.insert("prevResult".to_owned(), previous.clone());
    }
    Value::Object(keys).to_string().into_bytes()
}

/// Of STATUS.
pub(super) fn of_status(network: &Network, plugin: &PluginConf) -> Vec<u8> {
    Value::Object(of_plugin(network, plugin)).to_string().into_bytes()
}

/// Of GC.
pub(super) fn of_gc(network: &Network, plugin: &PluginConf, valid: &[AttachmentId]) -> Vec<u8> {
    let valid = valid.iter().filter(|id| id.network == network.name);
    let valid: Value =
        valid.map(|id| json!({"containerID": id.container_id, "ifname": id.ifname})).collect();
    let mut keys = of_plugin(network, plugin);
    keys.insert("cni.dev/valid-attachments".to_owned(), valid.clone());
    // As the specification once called it; there are plugins that know only that.
    keys.insert("cni.dev/attachments".to_owned(), valid);
    Value::Object(keys).to_string().into_bytes()
}

fn of_plugin(network: &Network, plugin: &PluginConf) -> Map<String, Value> {
    let mut keys = plugin.keys.clone();
    keys.retain(|key, _| !key.starts_with(OURS) && key != "prevResult");
    keys.insert("name".to_owned(), network.name.clone().into());
    keys.insert("cniVersion".to_owned(), network.version.as_str().into());
    keys
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn network() -> Network {
        let list = json!({"cniVersion": "1.1.0", "name": "n", "plugins": [{
            "type": "x", "name": "ignored", "cniVersion": "0.1.0", "own": {"k": [1]},
            "args": {"cni": {}}, "capabilities": {"mac": true, "ips": false},
            "cni.dev/x": 1, "prevResult": {}
        }]});
        Network::parse(list.to_string().as_bytes(), Path::new("/f")).unwrap()
    }

    fn read(request: &[u8]) -> Value {
        serde_json::from_slice(request).unwrap()
    }

    #[test]
    fn a_plugin_is_told_its_own_keys_and_the_capabilities_that_it_has() {
        let network = network();
        let all = json!({"mac": "m", "ips": ["1"], "aliases": ["a"]});
        let all = all.as_object().unwrap();
        let plugin = &network.plugins[0];
        let expected = json!({
            "type": "x", "name": "n", "cniVersion": "1.1.0", "own": {"k": [1]},
            "args": {"cni": {}}, "runtimeConfig": {"mac": "m"}, "prevResult": {"ips": []}
        });
        let previous = json!({"ips": []});
        assert_eq!(read(&of_attachment(&network, plugin, all, Some(&previous))), expected);
        let bare = read(&of_attachment(&network, plugin, &Map::new(), None));
        assert_eq!(bare.get("runtimeConfig"), None);
        assert_eq!(bare.get("prevResult"), None);
    }

    #[test]
    fn a_collection_is_told_what_is_valid_of_its_network() {
        let id = |network: &str, container_id: &str| AttachmentId {
            network: network.into(),
            container_id: container_id.into(),
            ifname: "eth0".into(),
        };
        let network = network();
        let request = read(&of_gc(&network, &network.plugins[0], &[id("n", "a"), id("m", "b")]));
        let expected = json!([{"containerID": "a", "ifname": "eth0"}]);
        assert_eq!(request["cni.dev/valid-attachments"], expected);
        assert_eq!(request["cni.dev/attachments"], expected);
        assert_eq!(request.get("cni.dev/x"), None);
    }
}
