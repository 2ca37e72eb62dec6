//! Network namespaces of pods, and what they are attached to.

use std::collections::HashMap;
use std::path::PathBuf;

use berth_proto::berth::node::v1 as wire;

use super::{Node, QUICK, WORK, call, refused};
use crate::users::{Range, Users};
use crate::{Error, Result};

/// What a pod is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Its name.
    pub hostname: String,
    /// Ports of the node that lead to it.
    pub ports: Vec<Port>,
    /// Where names are asked for, if it is said.
    pub dns: Option<Dns>,
    /// What plugins are told as CNI_ARGS.
    pub args: HashMap<String, String>,
    /// What they are told where they ask for it: an object of JSON.
    pub capabilities: String,
    /// Users of its own, who are to own its network namespace.
    pub users: Option<Users>,
    /// A folder of networks in place of the pods'; empty: those.
    pub conf_dir: PathBuf,
    /// How many of its files count; 0: as many as of the pods'.
    pub max_conf_num: usize,
}

/// A port of the node that leads to one of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// On the node.
    pub host_port: u16,
    /// In the pod.
    pub port: u16,
    /// `tcp`, `udp`, `sctp`.
    pub protocol: &'static str,
    /// The node's address; empty: all.
    pub host_address: String,
}

/// Where names are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Servers' addresses.
    pub servers: Vec<String>,
    /// Domains that are searched.
    pub searches: Vec<String>,
    /// Options of resolv.conf.
    pub options: Vec<String>,
}

/// What a pod is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Where its network namespace is.
    pub netns: String,
    /// Where the user namespace is that owns it; empty: the node's does.
    pub userns: String,
    /// Its interfaces, in order.
    pub interfaces: Vec<Interface>,
}

/// An interface of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses, each with the length of its prefix.
    pub addresses: Vec<String>,
    /// Gateways, one for each kind of address at most.
    pub gateways: Vec<String>,
    /// Its hardware address.
    pub mac: String,
}

/// Makes a network namespace for a pod, and attaches it to the pods' network. `None` if nobody says to what.
///
/// # Errors
/// [`Error::Peer`] with what a plugin said; nothing of it is left then, or the node undoes it.
pub async fn attach(node: &Node, id: &str, wish: Wish) -> Result<Option<Attachment>> {
    let Wish { hostname, ports, dns, args, capabilities, users, conf_dir, max_conf_num } = wish;
    let range = |Range { outside, size }| wire::IdRange { inside: 0, outside, size };
    let ranges = users.map(|users| [users.users(), users.groups()].map(|of| vec![range(of)]));
    let [uids, gids] = ranges.unwrap_or_default();
    let request = wire::AttachRequest {
        id: id.to_owned(),
        hostname,
        ports: ports.into_iter().map(published).collect(),
        dns: dns.map(|Dns { servers, searches, options }| wire::DnsChoice {
            servers,
            searches,
            options,
        }),
        args,
        capabilities,
        uids,
        gids,
        // The pod has its own.
        without_files: true,
        conf_dir: conf_dir.to_string_lossy().into_owned(),
        max_conf_num: u32::try_from(max_conf_num).unwrap_or(u32::MAX),
        ..Default::default()
    };
    let answer = node.networks().attach(call(request, WORK)).await.map_err(refused("attach"))?;
    Ok(answer.into_inner().attachment.map(|made| Attachment {
        netns: made.netns,
        userns: made.userns,
        interfaces: made.interfaces.into_iter().map(interface).collect(),
    }))
}

fn published(Port { host_port, port, protocol, host_address }: Port) -> wire::PublishedPort {
    let (host_port, port) = (host_port.into(), port.into());
    wire::PublishedPort { host_port, port, protocol: protocol.to_owned(), host_address }
}

fn interface(of: wire::AttachedInterface) -> Interface {
    let wire::AttachedInterface { name, addresses, gateways, mac, .. } = of;
    Interface { name, addresses, gateways, mac }
}

/// Undoes it. It is no error where there is nothing.
///
/// # Errors
/// [`Error::Peer`]: the node tries it again, and so may who asked.
pub async fn detach(node: &Node, id: &str) -> Result<()> {
    let request = call(wire::DetachRequest { id: id.to_owned() }, WORK);
    node.networks().detach(request).await.map(drop).map_err(refused("detach"))
}

/// Why pods cannot be attached to a network; nothing if they can.
pub async fn trouble(node: &Node) -> Option<String> {
    match node.networks().ready(call(wire::NetworksReadyRequest {}, QUICK)).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            (!answer.ready).then_some(answer.reason)
        }
        Err(status) => Some(Error::to_string(&refused("ask for networks")(status))),
    }
}
