//! What plugins are told of an attachment, and whether they can do it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use berth_cni::{Attachment as ToPlugins, Capabilities, DnsServers, Network, PortMapping};

use super::bridge::without_default_routes;
use super::fault::Fault;
use super::{Key, container_id};
use crate::error::{Error, Result};
use crate::records::{Attachment, Choice, Port, Wanted};

/// The networks of an attachment, in order, and what is wanted on each.
pub(super) type Chosen = Vec<(Arc<Network>, Choice)>;

/// What CNI's conventions call them.
const PORTS: &str = "portMappings";
const ADDRESSES: &str = "ips";
const MAC: &str = "mac";

/// One interface of an attachment.
pub(super) struct Interface<'a> {
    pub(super) number: usize,
    pub(super) choice: &'a Choice,
    pub(super) chosen: &'a Chosen,
    pub(super) wanted: &'a Wanted,
}

impl Interface<'_> {
    pub(super) fn to_plugins(&self, container_id: &str, netns: &Path) -> Result<ToPlugins> {
        let Self { number, choice, chosen, wanted } = self;
        let ports = match forwarder(chosen) == Some(*number) {
            true => wanted.ports.iter().map(mapping).collect(),
            false => Vec::new(),
        };
        let dns = &wanted.dns;
        let is_said = *dns != crate::records::Dns::default();
        let dns = is_said.then(|| DnsServers {
            servers: dns.servers.clone(),
            searches: dns.searches.clone(),
            options: dns.options.clone(),
        });
        let capabilities = Capabilities {
            port_mappings: ports,
            dns,
            ips: choice.addresses.clone(),
            mac: (!choice.mac.is_empty()).then(|| choice.mac.clone()),
            aliases: choice.aliases.clone(),
            others: wanted.more_capabilities()?.into_iter().collect(),
            ..Capabilities::default()
        };
        Ok(ToPlugins {
            container_id: container_id.to_owned(),
            netns: Some(netns.to_owned()),
            netns_override: false,
            ifname: wanted.interface(*number),
            args: wanted.args.clone().into_iter().collect(),
            capabilities,
        })
    }
}

/// The network as an interface at this place joins it: only the first has a default route of ours.
pub(super) fn as_joined(network: &Arc<Network>, number: usize) -> Result<Cow<'_, Network>> {
    let mut list = network.to_list();
    let is_ours = list["plugins"][0]["args"]["berth"].is_object();
    if number == 0 || !is_ours {
        return Ok(Cow::Borrowed(network));
    }
    without_default_routes(&mut list);
    let changed = Network::parse(list.to_string().as_bytes(), network.file());
    Ok(Cow::Owned(changed.map_err(|error| Fault::from(Box::new(error)))?))
}

/// Which of the networks has the machine's ports lead to it: one does, or they would lead there twice.
fn forwarder(chosen: &Chosen) -> Option<usize> {
    chosen.iter().position(|(network, _)| network.capabilities().contains(PORTS))
}

/// Refuses what no plugin of a network would do. Pods are attached as they are by others: some have programs beside
/// that forward ports.
pub(super) fn check(wanted: &Wanted, chosen: &Chosen) -> Result<()> {
    let lacks = |network: &Network, what| {
        Err(Error::from(Fault::Lacks { network: network.name().to_owned(), what }))
    };
    for (network, choice) in chosen {
        let capabilities = network.capabilities();
        if !choice.addresses.is_empty() && !capabilities.contains(ADDRESSES) {
            return lacks(network, "addresses that are asked for");
        }
        if !choice.mac.is_empty() && !capabilities.contains(MAC) {
            return lacks(network, "hardware addresses that are asked for");
        }
    }
    match chosen.first() {
        Some((network, _))
            if !wanted.ports.is_empty()
                && !wanted.networks.is_empty()
                && forwarder(chosen).is_none() =>
        {
            lacks(network, "ports of the machine")
        }
        _ => Ok(()),
    }
}

/// Refuses ports of the machine that lead to something else: plugins would take both, and one of them would win.
pub(super) fn ports_are_free(wanted: &Wanted, by: &Key, there: &Attachment) -> Result<()> {
    for port in &wanted.ports {
        let clashes = |other: &&Port| {
            let every = port.host_address.is_none_or(|address| address.is_unspecified())
                || other.host_address.is_none_or(|address| address.is_unspecified());
            port.host_port == other.host_port
                && port.protocol == other.protocol
                && (every || port.host_address == other.host_address)
        };
        if there.wanted.ports.iter().any(|other| clashes(&other)) {
            let (port, protocol) = (port.host_port, port.protocol.clone());
            let by = container_id(by).replacen("--", "/", 1);
            return Err(Fault::PortTaken { port, protocol, by }.into());
        }
    }
    Ok(())
}

fn mapping(port: &Port) -> PortMapping {
    PortMapping {
        host_port: port.host_port,
        container_port: port.port,
        protocol: port.protocol.clone(),
        host_ip: port.host_address,
    }
}
