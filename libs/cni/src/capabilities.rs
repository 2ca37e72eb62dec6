//! What plugins that say so are told of an attachment: the well-known capabilities (CNI's conventions).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value};

/// Capability arguments. What is empty is not told.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Ports of the node that lead into the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port_mappings: Vec<PortMapping>,
    /// Bounds on the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Name servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsServers>,
    /// One address is taken of each of these sets of ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_ranges: Vec<Vec<IpRange>>,
    /// Addresses, with or without a prefix's length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// The hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The Infiniband GUID.
    #[serde(rename = "infinibandGUID", skip_serializing_if = "Option::is_none")]
    pub infiniband_guid: Option<String>,
    /// The device (`0000:04:00.5`).
    #[serde(rename = "deviceID", skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Names that others on the network reach the container by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The pod's control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_path: Option<String>,
    /// Others, by their keys; they do not replace those above.
    #[serde(skip)]
    pub others: BTreeMap<String, Value>,
}

/// A port of the node that leads to one of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// On the node.
    pub host_port: u16,
    /// In the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The node's address; all of them where none is said.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

/// Rates in bits per second, bursts in bits; 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the type says it")]
pub struct Bandwidth {
    pub ingress_rate: u64,
    pub ingress_burst: u64,
    pub egress_rate: u64,
    pub egress_burst: u64,
}

/// What is to stand in the container's `resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DnsServers {
    /// Their addresses.
    pub servers: Vec<String>,
    /// Domains that short names are looked for in.
    pub searches: Vec<String>,
    /// Of the resolver.
    pub options: Vec<String>,
}

/// Addresses to choose from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpRange {
    /// In CIDR notation.
    pub subnet: String,
    /// The first; that of the subnet where none is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_start: Option<IpAddr>,
    /// The last, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_end: Option<IpAddr>,
    /// The subnet's first where none is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

impl Capabilities {
    pub(crate) fn to_map(&self) -> Map<String, Value> {
        // Strings, numbers and lists of them: there is nothing that has no JSON.
        let Ok(Value::Object(mut map)) = serde_json::to_value(self) else { return Map::new() };
        for (key, value) in &self.others {
            map.entry(key).or_insert_with(|| value.clone());
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn they_are_called_as_the_conventions_do() {
        assert_eq!(Value::Object(Capabilities::default().to_map()), json!({}));
        let all = Capabilities {
            port_mappings: vec![PortMapping {
                host_port: 8080,
                container_port: 80,
                protocol: "tcp".into(),
                host_ip: Some([127, 0, 0, 1].into()),
            }],
            bandwidth: Some(Bandwidth { ingress_rate: 1, egress_burst: 2, ..Default::default() }),
            dns: Some(DnsServers { servers: vec!["8.8.8.8".into()], ..Default::default() }),
            ip_ranges: vec![vec![IpRange { subnet: "10.1.2.0/24".into(), ..Default::default() }]],
            ips: vec!["10.0.0.1/8".into()],
            mac: Some("c2:11:22:33:44:55".into()),
            infiniband_guid: Some("c2:11:22:33:44:55:66:77".into()),
            device_id: Some("0000:04:00.5".into()),
            aliases: vec!["db".into()],
            cgroup_path: Some("/k".into()),
            others: [("x".into(), json!(1)), ("mac".into(), json!("other"))].into(),
        };
        let expected = json!({
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}],
            "bandwidth": {"ingressRate": 1, "ingressBurst": 0, "egressRate": 0, "egressBurst": 2},
            "dns": {"servers": ["8.8.8.8"], "searches": [], "options": []},
            "ipRanges": [[{"subnet": "10.1.2.0/24"}]], "ips": ["10.0.0.1/8"],
            "mac": "c2:11:22:33:44:55", "infinibandGUID": "c2:11:22:33:44:55:66:77",
            "deviceID": "0000:04:00.5", "aliases": ["db"], "cgroupPath": "/k", "x": 1
        });
        assert_eq!(Value::Object(all.to_map()), expected);
    }
}
