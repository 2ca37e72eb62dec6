//! What is asked of the node's networks for a pod, and what they answer.

use berth_config::Handler;
use berth_proto::runtime::v1::{PodSandboxConfig, Protocol};
use serde_json::{Map, Value, json};

use crate::peers::Node;
use crate::peers::networks::{self, Attachment, Dns, Port, Wish};
use crate::users::Users;
use crate::{Error, Result};

/// Under this capability plugins are told a pod's annotations.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// Makes a network namespace for a pod, owned by its users where it has its own, and attaches it to the pods' network, or
/// that of its handler.
///
/// # Errors
/// [`Error::Peer`] with what a plugin said; nothing of it is left then, or the node undoes it.
pub(super) async fn attach(
    node: &Node,
    id: &str,
    config: &PodSandboxConfig,
    handler: &Handler,
    users: Option<Users>,
) -> Result<Attachment> {
    let wish = Wish {
        users,
        conf_dir: handler.cni_conf_dir.clone(),
        max_conf_num: handler.cni_max_conf_num,
        ..wish(id, config)?
    };
    let step = format!("failed to setup network for sandbox {id:?}");
    let attached = networks::attach(node, id, wish).await.map_err(Error::within(step))?;
    let none = || Error::Refused(format!("failed to find network info for sandbox {id:?}"));
    let attachment = attached.ok_or_else(none)?;
    if ips(&attachment, "cni").is_empty() {
        return Err(none());
    }
    Ok(attachment)
}

/// Undoes it. It is no error where there is nothing.
///
/// # Errors
/// [`Error::Peer`]: the node tries it again, and so may who stops the pod.
pub(super) async fn detach(node: &Node, id: &str) -> Result<()> {
    let step = format!("failed to destroy network for sandbox {id:?}");
    networks::detach(node, id).await.map_err(Error::within(step))
}

fn wish(id: &str, config: &PodSandboxConfig) -> Result<Wish> {
    let metadata = config.metadata.clone().unwrap_or_default();
    let args = [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &metadata.namespace),
        ("K8S_POD_NAME", &metadata.name),
        ("K8S_POD_INFRA_CONTAINER_ID", id),
        ("K8S_POD_UID", &metadata.uid),
    ];
    let dns = config.dns_config.clone().map(|dns| Dns {
        servers: dns.servers,
        searches: dns.searches,
        options: dns.options,
    });
    Ok(Wish {
        hostname: config.hostname.clone(),
        ports: ports(config)?,
        dns,
        args: args.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        capabilities: Value::Object(capabilities(config)?).to_string(),
        ..Wish::default()
    })
}

/// Those that are published on the node.
fn ports(config: &PodSandboxConfig) -> Result<Vec<Port>> {
    let published = config.port_mappings.iter().filter(|port| port.host_port > 0);
    let port = |port: &berth_proto::runtime::v1::PortMapping| {
        let number = |number: i32| {
            let wrong = |_| Error::Invalid(format!("port {number} of a port mapping"));
            u16::try_from(number).map_err(wrong)
        };
        let protocol = match port.protocol() {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        Ok(Port {
            host_port: number(port.host_port)?,
            port: number(port.container_port)?,
            protocol,
            host_address: port.host_ip.clone(),
        })
    };
    published.map(port).collect()
}

/// What plugins are told beside ports and names, where they ask for it.
fn capabilities(config: &PodSandboxConfig) -> Result<Map<String, Value>> {
    let mut told = Map::new();
    told.insert(ANNOTATIONS.to_owned(), json!(sorted(config)));
    let parent = config.linux.as_ref().map_or("", |linux| &linux.cgroup_parent);
    if !parent.is_empty() {
        told.insert("cgroupPath".to_owned(), json!(parent));
    }
    if let Some(bandwidth) = crate::bandwidth::of(&config.annotations)? {
        told.insert("bandwidth".to_owned(), bandwidth);
    }
    Ok(told)
}

fn sorted(config: &PodSandboxConfig) -> std::collections::BTreeMap<&str, &str> {
    config.annotations.iter().map(|(key, value)| (&**key, &**value)).collect()
}

/// The pod's addresses: those of its first interface, one of the version that is to be first before the others; with
/// `cni` in the order of the plugins.
pub(super) fn ips(attachment: &Attachment, first_is: &str) -> Vec<String> {
    let Some(first) = attachment.interfaces.first() else { return Vec::new() };
    let plain = |address: &String| address.split('/').next().unwrap_or_default().to_owned();
    let mut ips: Vec<_> = first.addresses.iter().map(plain).collect();
    let is_first = |ip: &String| match first_is {
        "ipv6" => ip.contains(':'),
        "ipv4" => !ip.contains(':'),
        _ => true,
    };
    if let Some(at) = ips.iter().position(is_first) {
        ips[..=at].rotate_right(1);
    }
    ips
}

/// What plugins answered, as go-cni sums it up in a pod's metadata.
pub(super) fn summed_up(attachment: &Attachment) -> Value {
    let interfaces = attachment.interfaces.iter().map(|interface| {
        let gateway = |ip: &str| {
            let of_version = |gateway: &&String| gateway.contains(':') == ip.contains(':');
            interface.gateways.iter().find(of_version).cloned().unwrap_or_default()
        };
        let configs = interface.addresses.iter().map(|address| {
            let ip = address.split('/').next().unwrap_or_default();
            json!({"IP": ip, "Gateway": gateway(ip)})
        });
        let about = json!({
            "IPConfigs": configs.collect::<Vec<_>>(), "Mac": interface.mac, "Sandbox": attachment.netns,
            "PciID": "", "SocketPath": ""
        });
        (interface.name.clone(), about)
    });
    json!({"Interfaces": interfaces.collect::<Map<_, _>>(), "DNS": null, "Routes": null})
}

#[cfg(test)]
mod tests {
    use berth_proto::runtime::v1::PortMapping;

    use super::*;

    #[test]
    fn the_first_address_is_of_the_version_that_is_asked_for() {
        let interface = networks::Interface {
            name: "eth0".into(),
            addresses: ["fd00::2/64", "10.0.0.2/24", "10.0.1.2/24"].map(String::from).into(),
            gateways: vec!["10.0.0.1".into()],
            ..Default::default()
        };
        let attachment = Attachment { interfaces: vec![interface], ..Default::default() };
        assert_eq!(ips(&attachment, "ipv4"), ["10.0.0.2", "fd00::2", "10.0.1.2"]);
        assert_eq!(ips(&attachment, "ipv6"), ["fd00::2", "10.0.0.2", "10.0.1.2"]);
        assert_eq!(ips(&attachment, "cni"), ["fd00::2", "10.0.0.2", "10.0.1.2"]);
        let configs = &summed_up(&attachment)["Interfaces"]["eth0"]["IPConfigs"];
        assert_eq!(configs[1], json!({"IP": "10.0.0.2", "Gateway": "10.0.0.1"}));
        assert_eq!(configs[0], json!({"IP": "fd00::2", "Gateway": ""}));
    }

    #[test]
    fn ports_that_are_not_published_are_left_out() {
        let port = |host_port, container_port| PortMapping {
            host_port,
            container_port,
            ..Default::default()
        };
        let config = |ports: &[PortMapping]| PodSandboxConfig {
            port_mappings: ports.into(),
            ..Default::default()
        };
        let asked = ports(&config(&[port(0, 80), port(8080, 80)])).unwrap();
        assert_eq!((asked.len(), asked[0].host_port, asked[0].protocol), (1, 8080, "tcp"));
        assert!(ports(&config(&[port(65_536, 80)])).is_err());
    }
}
