//! What `create` and `run` take about networks, and which of it goes together.

use std::net::IpAddr;

use anyhow::{Result, bail};
use berth_proto::berth::node::v1::{AttachRequest, DnsChoice, HostsEntry, NetworkChoice};

use super::port;

/// What can be typed.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Flags {
    /// The name of the host that the container sees.
    #[arg(long)]
    pub hostname: Option<String>,
    /// The host's network, none, another container's, or networks by name [default: host].
    #[arg(
        long,
        alias = "network",
        value_delimiter = ',',
        value_name = "host|none|container:NAME|NAME[,NAME]"
    )]
    net: Vec<String>,
    /// An address on the first network, of IPv4 or IPv6.
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// The hardware address on the first network.
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// One more name that others on its networks know it by.
    #[arg(long, value_name = "NAME")]
    network_alias: Vec<String>,
    /// Lead a port of the machine, or as many in a row, into the container; without one a free one is taken.
    #[arg(short, long, value_name = "[[ADDRESS:]HOSTPORT:]PORT[/tcp|udp|sctp]")]
    publish: Vec<String>,
    /// A name server.
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// A domain that names are looked up in.
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// An option of resolv.conf.
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,
    /// One more line of the container's /etc/hosts.
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
}

/// Which network a container is in.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// The host's own.
    Host,
    /// One of its own, with nothing in it but a loopback device.
    None,
    /// That of another container, as it was typed.
    Container(String),
    /// One of its own that is attached to networks. The container's name is still missing.
    Attached(Box<AttachRequest>),
}

impl Flags {
    /// What they say together.
    ///
    /// # Errors
    /// For what does not go together, and what cannot be read.
    pub fn mode(&self) -> Result<Mode> {
        let mode = self.named()?;
        let Mode::Attached(request) = mode else {
            self.refuse_others(&mode)?;
            return Ok(mode);
        };
        Ok(Mode::Attached(Box::new(self.filled(*request)?)))
    }

    fn named(&self) -> Result<Mode> {
        let alone = |name: &str| match name {
            "host" => Some(Mode::Host),
            "none" => Some(Mode::None),
            _ => name.strip_prefix("container:").map(|of| Mode::Container(of.to_owned())),
        };
        match &*self.net {
            [] => return Ok(Mode::Host),
            [name] if name.is_empty() => bail!("--net has no value"),
            [name] => {
                if let Some(mode) = alone(name) {
                    return Ok(mode);
                }
            }
            names => {
                if let Some(name) = names.iter().find(|name| alone(name).is_some()) {
                    bail!("--net {name} goes with no other network");
                }
            }
        }
        let mut networks: Vec<NetworkChoice> = Vec::new();
        for name in &self.net {
            if name.is_empty() || networks.iter().any(|network| network.name == *name) {
                bail!("--net {}: network {name:?} is there twice, or empty", self.net.join(","));
            }
            networks.push(NetworkChoice { name: name.clone(), ..Default::default() });
        }
        let request = AttachRequest { networks, ..Default::default() };
        Ok(Mode::Attached(Box::new(request)))
    }

    /// Refuses what is said of a network that is not the container's.
    fn refuse_others(&self, mode: &Mode) -> Result<()> {
        let (net, of_another) = match mode {
            Mode::None => ("--net none", false),
            Mode::Container(_) => ("another container's network", true),
            _ => ("--net host", false),
        };
        if of_another && self.hostname.is_some() {
            bail!("--hostname does not go with {net}, whose hostname comes with it");
        }
        let given = [
            ("-p", self.publish.is_empty()),
            ("--ip", self.ip.is_empty()),
            ("--mac-address", self.mac_address.is_none()),
            ("--network-alias", self.network_alias.is_empty()),
            ("--dns", self.dns.is_empty()),
            ("--dns-search", self.dns_search.is_empty()),
            ("--dns-option", self.dns_option.is_empty()),
            ("--add-host", self.add_host.is_empty()),
        ];
        match given.iter().find(|(_, is_empty)| !is_empty) {
            Some((flag, _)) => bail!("{flag} does not go with {net}, give --net bridge"),
            None => Ok(()),
        }
    }

    fn filled(&self, mut request: AttachRequest) -> Result<AttachRequest> {
        for network in &mut request.networks {
            network.aliases.clone_from(&self.network_alias);
        }
        if let Some(first) = request.networks.first_mut() {
            first.addresses = self.ip.iter().map(ToString::to_string).collect();
            first.mac = self.mac_address.clone().unwrap_or_default();
        }
        for text in &self.publish {
            request.ports.extend(port::published(text)?);
        }
        request.hosts = self.add_host.iter().map(|text| host(text)).collect::<Result<_>>()?;
        request.hostname = self.hostname.clone().unwrap_or_default();
        let dns = DnsChoice {
            servers: self.dns.clone(),
            searches: self.dns_search.clone(),
            options: self.dns_option.clone(),
        };
        request.dns = (dns != DnsChoice::default()).then_some(dns);
        Ok(request)
    }
}

/// `NAME:ADDRESS`; one of IPv6 may stand in brackets.
fn host(text: &str) -> Result<HostsEntry> {
    let Some((name, address)) = text.split_once(':').filter(|(name, _)| !name.is_empty()) else {
        bail!("host {text:?} is not NAME:ADDRESS");
    };
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let Ok(address) = bare.unwrap_or(address).parse::<IpAddr>() else {
        bail!("host {text:?}: {address:?} is no address");
    };
    Ok(HostsEntry { address: address.to_string(), names: vec![name.to_owned()] })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn mode(line: &str) -> Result<Mode> {
        let words = std::iter::once("create").chain(line.split_whitespace());
        Line::try_parse_from(words)?.flags.mode()
    }

    fn attached(line: &str) -> AttachRequest {
        match mode(line).unwrap() {
            Mode::Attached(request) => *request,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn one_network_is_anothers_none_or_the_hosts() {
        assert_eq!(mode("").unwrap(), Mode::Host);
        assert_eq!(mode("--net host --hostname x").unwrap(), Mode::Host);
        assert_eq!(mode("--network none").unwrap(), Mode::None);
        assert_eq!(mode("--net container:web").unwrap(), Mode::Container("web".into()));
    }

    #[test]
    fn networks_are_in_order_and_the_first_has_the_addresses() {
        let line = "--net a,b --net c --ip 10.0.0.7 --ip fd00::7 --mac-address 02:00:00:00:00:01 \
                    --network-alias db --hostname box -p 8080:80 -p 53:53/udp --dns 10.0.0.2 \
                    --dns-search corp --dns-option ndots:1 --add-host x:fd00::1 --add-host y:[::1]";
        let request = attached(line);
        let names: Vec<_> =
            request.networks.iter().map(|n| (&*n.name, n.addresses.len())).collect();
        assert_eq!(names, [("a", 2), ("b", 0), ("c", 0)]);
        assert_eq!(request.networks[0].mac, "02:00:00:00:00:01");
        assert!(request.networks.iter().all(|network| network.aliases == ["db"]));
        assert_eq!((request.ports.len(), &*request.hostname), (2, "box"));
        let hosts: Vec<_> = request.hosts.iter().map(|h| (&*h.names[0], &*h.address)).collect();
        assert_eq!(hosts, [("x", "fd00::1"), ("y", "::1")]);
        let dns = request.dns.unwrap();
        assert_eq!((dns.servers, dns.searches), (vec!["10.0.0.2".into()], vec!["corp".into()]));
        assert_eq!(attached("--net a").dns, None);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (line, says) in [
            ("-p 80:80", "-p does not go with --net host, give --net bridge"),
            ("--net none --dns 1.1.1.1", "--dns does not go with --net none"),
            ("--net container:a --add-host x:::1", "--add-host does not go with another"),
            ("--net container:a --hostname x", "--hostname does not go with another"),
            ("--net a,host", "--net host goes with no other network"),
            ("--net none --net a", "--net none goes with no other"),
            ("--net a,a", "\"a\" is there twice"),
            ("--net a,,b", "\"\" is there twice, or empty"),
            ("--net=", "no value"),
            ("--net a --add-host x", "\"x\" is not NAME:ADDRESS"),
            ("--net a --add-host x:y", "\"y\" is no address"),
            ("--net a -p 80:x", "port"),
        ] {
            let said = mode(line).unwrap_err().to_string();
            assert!(said.contains(says), "{line}: {said}");
        }
    }
}
