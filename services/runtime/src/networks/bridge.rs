//! A network of our own as CNI has it: a bridge, addresses of its own, ports, a way through the firewall.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use berth_cni::Cidr;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The longest name of an interface, in bytes.
const MAX_INTERFACE: usize = 15;
/// The version that Debian's plugins have known for long.
const VERSION: &str = "1.0.0";

/// What a bridge is made of.
#[derive(Debug)]
pub(super) struct Bridge<'a> {
    pub(super) name: &'a str,
    pub(super) device: &'a str,
    pub(super) subnets: &'a [Cidr],
    /// Nothing leads out of it.
    pub(super) internal: bool,
    /// In bytes; 0: the kernel's.
    pub(super) mtu: u32,
    pub(super) labels: &'a BTreeMap<String, String>,
    /// Where the addresses that are given away are noted.
    pub(super) data: &'a Path,
}

impl Bridge<'_> {
    /// Its configuration.
    pub(super) fn to_list(&self) -> Value {
        let Self { name, device, subnets, internal, mtu, labels, data } = self;
        let ranges = subnets.iter().map(|subnet| json!([{ "subnet": subnet }]));
        let default = |subnet: &&Cidr| subnet.addr().is_ipv4();
        let ways = [("0.0.0.0/0", true), ("::/0", false)].into_iter();
        let ways = ways.filter(|(_, v4)| !internal && subnets.iter().any(|s| default(&s) == *v4));
        let mut ipam = json!({
            "type": "host-local",
            "dataDir": data,
            "ranges": ranges.collect::<Vec<_>>(),
        });
        let routes: Vec<_> = ways.map(|(dst, _)| json!({ "dst": dst })).collect();
        if !routes.is_empty() {
            ipam["routes"] = routes.into();
        }
        let mut bridge = json!({
            "type": "bridge",
            "bridge": device,
            "isGateway": true,
            "ipMasq": !internal,
            "hairpinMode": true,
            "capabilities": { "ips": true, "mac": true },
            "ipam": ipam,
            "args": { "berth": { "labels": labels, "internal": internal } },
        });
        if *mtu > 0 {
            bridge["mtu"] = json!(mtu);
        }
        json!({
            "cniVersion": VERSION,
            "name": name,
            "loadOnlyInlinedPlugins": true,
            "plugins": [
                bridge,
                { "type": "firewall" },
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        })
    }
}

/// A name for a network's device that nothing has.
pub(super) fn device_for(name: &str, taken: &BTreeSet<String>) -> String {
    let plain = format!("br-{name}");
    if plain.len() <= MAX_INTERFACE && !taken.contains(&plain) {
        return plain;
    }
    let hashed = |number: u32| {
        let hash = Sha256::digest(format!("{name}/{number}"));
        let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("br-{}", &digits[..MAX_INTERFACE - 3])
    };
    let mut number = 0;
    loop {
        let device = hashed(number);
        // There are finitely many devices, and no two numbers have one hash.
        if !taken.contains(&device) {
            return device;
        }
        number += 1;
    }
}

/// The same network without default routes, for interfaces after the first.
pub(super) fn without_default_routes(list: &mut Value) {
    let plugins = list["plugins"].as_array_mut().into_iter().flatten();
    for plugin in plugins {
        if let Some(routes) = plugin.pointer_mut("/ipam/routes").and_then(Value::as_array_mut) {
            routes.retain(|route| !matches!(route["dst"].as_str(), Some("0.0.0.0/0" | "::/0")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names_of_their_own_that_the_kernel_takes() {
        let mut taken = BTreeSet::new();
        assert_eq!(device_for("web", &taken), "br-web");
        taken.insert("br-web".to_owned());
        let other = device_for("web", &taken);
        assert!(other.starts_with("br-") && other.len() == MAX_INTERFACE, "{other}");
        taken.insert(other.clone());
        let third = device_for("web", &taken);
        assert!(third != other && third.len() == MAX_INTERFACE, "{third}");
        assert_eq!(device_for("twelve-bytes", &taken), "br-twelve-bytes");
        let long = device_for("thirteen-byte", &taken);
        assert!(long.len() == MAX_INTERFACE && !long.contains("thirteen"), "{long}");
        assert_ne!(long, device_for("thirteen-bytf", &taken));
    }

    #[test]
    fn an_internal_network_has_no_way_out() {
        let subnets: Vec<Cidr> = ["10.89.0.0/24", "fd00::/64"].map(|s| s.parse().unwrap()).into();
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let bridge = |subnets: &[Cidr], internal, mtu| {
            let (name, device, data) = ("n", "br-n", Path::new("/data"));
            Bridge { name, device, subnets, internal, mtu, labels: &labels, data }.to_list()
        };
        let list = bridge(&subnets, false, 0);
        let first = &list["plugins"][0];
        assert_eq!(first["ipMasq"], true);
        assert_eq!(first["ipam"]["routes"], json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]));
        assert_eq!(first.get("mtu"), None);
        let list = bridge(&subnets[1..], true, 1400);
        let first = &list["plugins"][0];
        assert_eq!((&first["ipMasq"], first["ipam"].get("routes")), (&json!(false), None));
        assert_eq!(first["mtu"], 1400);
        let mut list = bridge(&subnets[..1], false, 0);
        assert_eq!(list["plugins"][0]["ipam"]["routes"], json!([{"dst": "0.0.0.0/0"}]));
        without_default_routes(&mut list);
        assert_eq!(list["plugins"][0]["ipam"]["routes"], json!([]));
    }
}
