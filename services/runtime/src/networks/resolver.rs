//! What a container's resolver is told: what was asked for, or else what its networks say, or else the machine's.

use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use berth_cni::{NetworkResult, Version};

use crate::records::{Attachment, Dns};

/// The machine's.
const MACHINE: &str = "/etc/resolv.conf";
/// The machine's where the above names only systemd-resolved on loopback.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// The most that is read of either, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// `resolv.conf` of an attachment. Blocks.
pub(super) fn text(record: &Attachment) -> String {
    let machine = of_machine(&read(MACHINE.as_ref()), || read(RESOLVED.as_ref()));
    written(&chosen(&[&record.wanted.dns, &of_networks(record), &machine]))
}

/// Each part of the first that says it.
fn chosen(all: &[&Dns]) -> Dns {
    let first = |part: fn(&Dns) -> &Vec<String>| {
        all.iter().map(|dns| part(dns)).find(|part| !part.is_empty()).cloned().unwrap_or_default()
    };
    Dns {
        servers: first(|dns| &dns.servers),
        searches: first(|dns| &dns.searches),
        options: first(|dns| &dns.options),
    }
}

/// What the first network says that says anything.
fn of_networks(record: &Attachment) -> Dns {
    let results = record
        .joined
        .iter()
        .filter_map(|joined| NetworkResult::read(joined.result.as_bytes(), Version::NEWEST).ok());
    let mut dns = Dns::default();
    for said in results.map(|result| result.dns) {
        let mut searches = said.search;
        if searches.is_empty() && !said.domain.is_empty() {
            searches.push(said.domain);
        }
        let said = Dns { servers: said.nameservers, searches, options: said.options };
        dns = chosen(&[&dns, &plain(said)]);
    }
    dns
}

/// Without what would become another line: plugins say it, or somebody's server.
fn plain(mut dns: Dns) -> Dns {
    for part in [&mut dns.servers, &mut dns.searches, &mut dns.options] {
        part.retain(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()));
    }
    dns
}

/// The machine's, without servers that are reached on loopback: a container has another.
fn of_machine(text: &str, resolved: impl FnOnce() -> String) -> Dns {
    let mut dns = parsed(text);
    let asked = dns.servers.len();
    dns.servers.retain(|server| !is_loopback(server));
    if dns.servers.is_empty() && asked > 0 {
        let other = parsed(&resolved());
        dns.servers = other.servers;
        dns.servers.retain(|server| !is_loopback(server));
        if dns.searches.is_empty() {
            dns.searches = other.searches;
        }
    }
    dns
}

fn is_loopback(server: &str) -> bool {
    server.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// As resolv.conf(5) has it: of `search` and `domain` the last counts.
fn parsed(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.servers.extend(words.next()),
            Some("search" | "domain") => dns.searches = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

fn written(dns: &Dns) -> String {
    let mut text = String::new();
    for (word, all) in [("search", &dns.searches), ("options", &dns.options)] {
        if !all.is_empty() {
            text.push_str(&format!("{word} {}\n", all.join(" ")));
        }
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

/// The beginning of a file, or nothing.
fn read(path: &Path) -> String {
    let mut text = Vec::new();
    let read = fs_err::File::open(path).and_then(|f| f.take(MAX_FILE).read_to_end(&mut text));
    if let Err(error) = read {
        tracing::debug!(%error, "read the machine's name servers");
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(servers: &[&str], searches: &[&str], options: &[&str]) -> Dns {
        let owned = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        Dns { servers: owned(servers), searches: owned(searches), options: owned(options) }
    }

    #[test]
    fn each_part_is_the_first_that_is_said() {
        let (asked, network, machine) = (
            dns(&[], &["asked"], &[]),
            dns(&["1.1.1.1"], &["network"], &[]),
            dns(&["2.2.2.2"], &[], &["ndots:2"]),
        );
        let chosen = chosen(&[&asked, &network, &machine]);
        assert_eq!(chosen, dns(&["1.1.1.1"], &["asked"], &["ndots:2"]));
        assert_eq!(written(&chosen), "search asked\noptions ndots:2\nnameserver 1.1.1.1\n");
        assert_eq!(written(&Dns::default()), "");
    }

    #[test]
    fn servers_on_loopback_are_not_the_containers() {
        let text = "# a comment\nnameserver 127.0.0.53\nnameserver ::1\noptions edns0 trust-ad\n\
                    domain old\nsearch a b\n";
        let none = || panic!("not read where there is another");
        let mixed = of_machine(&format!("{text}nameserver 10.0.0.2\n"), none);
        assert_eq!(mixed, dns(&["10.0.0.2"], &["a", "b"], &["edns0", "trust-ad"]));
        let stub = of_machine(text, || "nameserver 10.0.0.3\nnameserver 127.0.0.1\n".into());
        assert_eq!(stub.servers, ["10.0.0.3"]);
        assert_eq!(of_machine("", none), Dns::default());
        assert_eq!(of_machine(text, String::new).servers, [""; 0]);
    }

    #[test]
    fn what_a_network_says_cannot_become_another_line() {
        let said = dns(&["1.1.1.1\nsearch x", "1.1.1.2"], &["a b", "c"], &[""]);
        assert_eq!(plain(said), dns(&["1.1.1.2"], &["c"], &[]));
    }
}
