//! What may be asked for: everything that clients say is bounded, and cannot become another line of a file.

use std::collections::BTreeSet;
use std::net::IpAddr;

use berth_cni::Cidr;
use berth_netns::Maps;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::records::{Choice, Dns, HostsLine, IdRange, Port, Users, Wanted};

/// The most interfaces of an attachment.
pub const MAX_NETWORKS: usize = 16;
/// The most ports of the machine that lead to one.
pub const MAX_PORTS: usize = 4096;
/// The most lines that are added to a hosts file.
pub const MAX_HOSTS: usize = 1024;
/// The most names in one line of it, or of one interface.
const MAX_NAMES: usize = 64;
/// The most addresses that are asked for on one network.
const MAX_ADDRESSES: usize = 16;
/// The most servers, domains or options of a resolver.
const MAX_DNS: usize = 32;
/// The most arguments, and the most bytes of one.
const MAX_ARGS: usize = 64;
const MAX_ARG: usize = 4096;
/// The longest path, in bytes.
const MAX_PATH: usize = 4095;
/// The most bytes of capability arguments: those of pods have all annotations in them, of which Kubernetes takes
/// 256 KiB, and their escapes.
const MAX_CAPABILITIES: usize = 2 << 20;
/// The most ranges of ids that the kernel takes.
const MAX_RANGES: usize = 340;
/// The longest name of a machine, and of one in the domain name system.
const MAX_HOSTNAME: usize = 64;
const MAX_NAME: usize = 253;

impl Wanted {
    /// What it says, if it may be asked for.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(super) fn checked(mut self) -> Result<Self> {
        bounded("networks", self.networks.len(), MAX_NETWORKS)?;
        bounded("ports", self.ports.len(), MAX_PORTS)?;
        bounded("hosts", self.hosts.len(), MAX_HOSTS)?;
        bounded("args", self.args.len(), MAX_ARGS)?;
        self.networks.iter().try_for_each(check_choice)?;
        self.check_folder()?;
        if !self.hostname.is_empty() {
            check_host("hostname", &self.hostname, MAX_HOSTNAME)?;
        }
        self.ports.iter_mut().try_for_each(check_port)?;
        let mut seen = BTreeSet::new();
        for Port { host_port, protocol, host_address, .. } in &self.ports {
            if !seen.insert((host_port, protocol, host_address)) {
                return invalid("port", &host_port.to_string(), "is there twice");
            }
        }
        check_dns(&self.dns)?;
        self.hosts.iter().try_for_each(check_line)?;
        for (key, value) in &self.args {
            let text = key.len() + value.len() <= MAX_ARG && !key.is_empty();
            if !text || key.contains([';', '=', '\0']) || value.contains([';', '\0']) {
                let why = "is empty, too long, or has a ';', a '=' or a NUL";
                return invalid("argument", key, why);
            }
        }
        self.more_capabilities()?;
        self.users.as_ref().map_or(Ok(()), check_users)?;
        let mut names = BTreeSet::new();
        match (0..self.networks.len()).find(|n| !names.insert(self.interface(*n))) {
            Some(twice) => invalid("interface", &self.interface(twice), "is there twice"),
            None => Ok(self),
        }
    }

    fn check_folder(&self) -> Result<()> {
        let folder = &self.conf_dir;
        match folder {
            _ if folder.is_empty() => Ok(()),
            _ if !self.networks.is_empty() => {
                invalid("folder of networks", folder, "is there beside networks by name")
            }
            _ if folder.len() > MAX_PATH || folder.contains('\0') || !folder.starts_with('/') => {
                invalid("folder of networks", folder, "is no absolute path")
            }
            _ => Ok(()),
        }
    }

    /// The name of the interface on a network, by its place.
    pub(super) fn interface(&self, place: usize) -> String {
        let asked = self.networks.get(place).map(|choice| &*choice.interface);
        match asked.unwrap_or_default() {
            "" => format!("eth{place}"),
            asked => asked.to_owned(),
        }
    }

    /// The capability arguments that it brings as JSON.
    pub(super) fn more_capabilities(&self) -> Result<Map<String, Value>> {
        let text = &self.capabilities;
        bounded("bytes of capabilities", text.len(), MAX_CAPABILITIES)?;
        if text.is_empty() {
            return Ok(Map::new());
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(Error::Invalid("capabilities: they are no JSON object".to_owned())),
            Err(error) => Err(Error::Invalid(format!("capabilities: {error}"))),
        }
    }

    /// In which of its parts another one is different.
    pub(super) fn differs_in(&self, other: &Self) -> Vec<&'static str> {
        let parts = [
            ("networks", self.networks == other.networks),
            ("folder of networks", self.conf_dir == other.conf_dir),
            ("hostname", self.hostname == other.hostname),
            ("ports", self.ports == other.ports),
            ("dns", self.dns == other.dns),
            ("hosts", self.hosts == other.hosts),
            ("args", self.args == other.args),
            ("capabilities", self.capabilities == other.capabilities),
            ("ids", self.users == other.users),
            ("files", self.without_files == other.without_files),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect()
    }
}

impl Users {
    /// As the kernel takes them.
    pub(super) fn maps(&self) -> Maps {
        let lines = |ranges: &[IdRange]| {
            let line = |IdRange { inside, outside, size }: &IdRange| {
                format!("{inside} {outside} {size}\n")
            };
            ranges.iter().map(line).collect()
        };
        Maps { uids: lines(&self.uids), gids: lines(&self.gids) }
    }
}

fn check_users(users: &Users) -> Result<()> {
    for (what, ranges) in [("uids", &users.uids), ("gids", &users.gids)] {
        bounded(what, ranges.len(), MAX_RANGES)?;
        if ranges.is_empty() {
            return invalid(what, "", "are missing: users and groups are mapped together");
        }
        for IdRange { inside, outside, size } in ranges {
            let fits = |first: &u32| first.checked_add(size.saturating_sub(1)).is_some();
            if *size == 0 || !fits(inside) || !fits(outside) {
                let range = format!("{inside}:{outside}:{size}");
                return invalid(what, &range, "is no range of ids");
            }
        }
    }
    Ok(())
}

fn check_choice(choice: &Choice) -> Result<()> {
    let Choice { name, interface, addresses, mac, aliases } = choice;
    if name.is_empty() || name.len() > 255 {
        return invalid("network", name, "is empty or longer than 255 bytes");
    }
    let odd = |c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace() || c.is_control();
    if interface.len() > 15 || matches!(&**interface, "." | ".." | "lo") || interface.contains(odd)
    {
        return invalid("interface", interface, "is no name of an interface");
    }
    bounded("addresses", addresses.len(), MAX_ADDRESSES)?;
    for address in addresses {
        if address.parse::<IpAddr>().is_err() && address.parse::<Cidr>().is_err() {
            return invalid("address", address, "is none");
        }
    }
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let is_mac = mac.split(':').count() == 6 && mac.split(':').all(is_byte);
    if !is_mac && !mac.is_empty() {
        return invalid("hardware address", mac, "is none");
    }
    bounded("aliases", aliases.len(), MAX_NAMES)?;
    aliases.iter().try_for_each(|alias| check_host("alias", alias, MAX_NAME))
}

fn check_port(port: &mut Port) -> Result<()> {
    if port.protocol.is_empty() {
        "tcp".clone_into(&mut port.protocol);
    }
    port.protocol.make_ascii_lowercase();
    if !matches!(&*port.protocol, "tcp" | "udp" | "sctp") {
        return invalid("protocol", &port.protocol, "is none of tcp, udp and sctp");
    }
    if port.host_port == 0 || port.port == 0 {
        return invalid("port", "0", "leads nowhere");
    }
    Ok(())
}

fn check_dns(dns: &Dns) -> Result<()> {
    let Dns { servers, searches, options } = dns;
    for (what, all) in [("servers", servers), ("searches", searches), ("options", options)] {
        bounded(what, all.len(), MAX_DNS)?;
        for text in all {
            let plain = text.bytes().all(|b| b.is_ascii_graphic());
            if text.is_empty() || text.len() > MAX_NAME || !plain {
                return invalid("dns", text, "is empty, too long, or not plain text");
            }
        }
    }
    // A link-local one may say of which interface it is.
    let is_address = |text: &str| text.split('%').next().unwrap_or_default().parse::<IpAddr>();
    match servers.iter().find(|server| is_address(server).is_err()) {
        Some(server) => invalid("name server", server, "is no address"),
        None => Ok(()),
    }
}

fn check_line(line: &HostsLine) -> Result<()> {
    bounded("names of a host", line.names.len(), MAX_NAMES)?;
    if line.names.is_empty() {
        return invalid("host", &line.address.to_string(), "has no name");
    }
    line.names.iter().try_for_each(|name| check_host("host", name, MAX_NAME))
}

/// A name that stands in a hosts file.
fn check_host(what: &'static str, name: &str, most: usize) -> Result<()> {
    let of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if name.is_empty() || name.len() > most || !name.bytes().all(of_name) || name.starts_with('-') {
        let why = format!("is not 1 to {most} letters, digits, '.', '-' and '_'");
        return invalid(what, name, &why);
    }
    Ok(())
}

fn bounded(what: &str, count: usize, most: usize) -> Result<()> {
    if count > most {
        return Err(Error::Invalid(format!("{count} {what}: there may be {most}")));
    }
    Ok(())
}

fn invalid<T>(what: &str, value: &str, why: &str) -> Result<T> {
    let shown: String = value.chars().take(MAX_NAME).collect();
    Err(Error::Invalid(format!("{what} {shown:?} {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_port: u16, protocol: &str) -> Port {
        Port { host_port, port: 80, protocol: protocol.into(), host_address: None }
    }

    fn choice(name: &str) -> Choice {
        Choice { name: name.into(), ..Choice::default() }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let wanted = Wanted {
            networks: vec![choice("a"), Choice { interface: "lan0".into(), ..choice("b") }],
            ports: vec![port(80, ""), port(80, "UDP")],
            ..Wanted::default()
        };
        let checked = wanted.checked().unwrap();
        assert_eq!([0, 1, 2].map(|n| checked.interface(n)), ["eth0", "lan0", "eth2"]);
        let protocols: Vec<_> = checked.ports.iter().map(|port| &*port.protocol).collect();
        assert_eq!(protocols, ["tcp", "udp"]);
        assert_eq!(checked.differs_in(&checked), [""; 0]);
        assert_eq!(checked.differs_in(&Wanted::default()), ["networks", "ports"]);
    }

    #[test]
    fn what_is_too_much_or_no_name_is_refused() {
        let on = |choice: Choice| Wanted { networks: vec![choice], ..Wanted::default() };
        let dns = |servers: &[&str], searches: &[&str]| Wanted {
            dns: Dns {
                servers: servers.iter().map(|s| (*s).to_owned()).collect(),
                searches: searches.iter().map(|s| (*s).to_owned()).collect(),
                options: Vec::new(),
            },
            ..Wanted::default()
        };
        let line =
            |name: &str| HostsLine { address: [1, 2, 3, 4].into(), names: vec![name.into()] };
        let arg = |key: &str, value: &str| Wanted {
            args: [(key.to_owned(), value.to_owned())].into(),
            ..Wanted::default()
        };
        let json = |text: &str| Wanted { capabilities: text.into(), ..Wanted::default() };
        let twice = Choice { interface: "eth1".into(), ..choice("a") };
        for (bad, says) in [
            (Wanted { networks: vec![choice("a"); 17], ..Wanted::default() }, "17 networks"),
            (Wanted { conf_dir: "net.d".into(), ..Wanted::default() }, "is no absolute path"),
            (Wanted { conf_dir: "/n".into(), ..on(choice("a")) }, "is there beside networks"),
            (Wanted { networks: vec![twice, choice("b")], ..Wanted::default() }, "there twice"),
            (on(choice("")), "network \"\""),
            (on(Choice { interface: "a/b".into(), ..choice("a") }), "interface \"a/b\""),
            (on(Choice { interface: "lo".into(), ..choice("a") }), "interface \"lo\""),
            (on(Choice { addresses: vec!["x".into()], ..choice("a") }), "address \"x\""),
            (on(Choice { mac: "1:2".into(), ..choice("a") }), "hardware address"),
            (on(Choice { aliases: vec!["a b".into()], ..choice("a") }), "alias \"a b\""),
            (Wanted { hostname: "a\nb".into(), ..Wanted::default() }, "hostname"),
            (Wanted { hostname: "x".repeat(65), ..Wanted::default() }, "hostname"),
            (Wanted { ports: vec![port(0, "tcp")], ..Wanted::default() }, "leads nowhere"),
            (Wanted { ports: vec![port(1, "x")], ..Wanted::default() }, "none of tcp"),
            (Wanted { ports: vec![port(1, "tcp"); 2], ..Wanted::default() }, "there twice"),
            (dns(&["localhost"], &[]), "no address"),
            (dns(&["1.1.1.1\nsearch x"], &[]), "plain text"),
            (dns(&[], &["a b"]), "plain text"),
            (Wanted { hosts: vec![line("a\n1.1.1.1 b")], ..Wanted::default() }, "host \"a"),
            (Wanted { hosts: vec![line("a"); 1025], ..Wanted::default() }, "1025 hosts"),
            (arg("a;b", "c"), "argument"),
            (arg("a", "b;IP=1.2.3.4"), "argument"),
            (arg("a", &"x".repeat(5000)), "argument"),
            (json("[]"), "no JSON object"),
            (json("{"), "capabilities"),
            (json(&"[".repeat(MAX_CAPABILITIES + 1)), "bytes of capabilities"),
        ] {
            let said = bad.clone().checked().unwrap_err().to_string();
            assert!(said.contains(says), "{says}: {said}");
        }
    }
}
