//! Attachments and their ports, as they are printed.

use berth_proto::berth::node::v1::{Attachment, PublishedPort};
use serde_json::{Value, json};

/// An attachment, without what plugins have told word by word.
pub fn as_json(attachment: &Attachment) -> Value {
    let interfaces: Vec<_> = attachment
        .interfaces
        .iter()
        .map(|interface| {
            json!({
                "network": interface.network,
                "name": interface.name,
                "mac": interface.mac,
                "addresses": interface.addresses,
                "gateways": interface.gateways,
            })
        })
        .collect();
    json!({
        "namespace": attachment.namespace,
        "id": attachment.id,
        "netns": attachment.netns,
        "down": attachment.down,
        "interfaces": interfaces,
        "ports": attachment.ports.iter().map(port).collect::<Vec<_>>(),
        "hosts_file": attachment.hosts_file,
        "hostname_file": attachment.hostname_file,
        "resolv_file": attachment.resolv_file,
        "trouble": attachment.trouble,
    })
}

/// A published port.
pub fn port(port: &PublishedPort) -> Value {
    json!({
        "host_address": port.host_address,
        "host_port": port.host_port,
        "port": port.port,
        "protocol": port.protocol,
    })
}

/// All addresses, without the lengths of their subnets.
pub fn addresses(attachment: &Attachment) -> Vec<&str> {
    let all = attachment.interfaces.iter().flat_map(|interface| &interface.addresses);
    all.map(|address| address.split('/').next().unwrap_or_default()).collect()
}

/// Ports on one line, those in a row as a range: `8080->80/tcp, 127.0.0.1:53-54->53-54/udp`.
pub fn ports(ports: &[PublishedPort]) -> String {
    let mut runs: Vec<(&PublishedPort, u32)> = Vec::new();
    for port in ports {
        match runs.last_mut() {
            Some((first, count)) if follows(first, *count, port) => *count += 1,
            _ => runs.push((port, 1)),
        }
    }
    runs.iter().map(|(first, count)| run(first, *count)).collect::<Vec<_>>().join(", ")
}

fn follows(first: &PublishedPort, count: u32, port: &PublishedPort) -> bool {
    first.host_port.checked_add(count) == Some(port.host_port)
        && first.port.checked_add(count) == Some(port.port)
        && (&first.protocol, &first.host_address) == (&port.protocol, &port.host_address)
}

fn run(first: &PublishedPort, count: u32) -> String {
    let range = |port: u32| match count {
        1 => port.to_string(),
        _ => format!("{port}-{}", port.saturating_add(count - 1)),
    };
    let address = match &*first.host_address {
        "" => String::new(),
        address if address.contains(':') => format!("[{address}]:"),
        address => format!("{address}:"),
    };
    let protocol = &first.protocol;
    format!("{address}{}->{}/{protocol}", range(first.host_port), range(first.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_a_row_are_a_range() {
        let port = |host_port, port, protocol: &str, host_address: &str| PublishedPort {
            host_port,
            port,
            protocol: protocol.into(),
            host_address: host_address.into(),
        };
        let all = [
            port(8080, 80, "tcp", ""),
            port(8081, 81, "tcp", ""),
            port(8082, 82, "udp", ""),
            port(8083, 90, "udp", ""),
            port(53, 53, "udp", "127.0.0.1"),
            port(54, 54, "udp", "::1"),
        ];
        let text = "8080-8081->80-81/tcp, 8082->82/udp, 8083->90/udp, 127.0.0.1:53->53/udp, [::1]:54->54/udp";
        assert_eq!(ports(&all), text);
        assert_eq!(ports(&[]), "");
    }
}
