//! `-p`: ports of the machine that lead into a container, as they are typed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail};
use berth_proto::berth::node::v1::PublishedPort;

/// The most ports of one range: no container has more.
const MAX_RANGE: usize = 256;

/// `[[ADDRESS:]HOSTPORT:]PORT[/PROTOCOL]`, where ports may be ranges of one length. A port of the machine that is
/// to be chosen is 0.
///
/// # Errors
/// For what is not written so.
pub fn published(text: &str) -> Result<Vec<PublishedPort>> {
    let doing = || format!("port {text:?}");
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !["tcp", "udp", "sctp"].contains(&protocol) {
        bail!("{}: {protocol:?} is none of tcp, udp and sctp", doing());
    }
    let (address, host, inner) = parts(rest).with_context(doing)?;
    let inner = range(inner).with_context(doing)?;
    let host = if host.is_empty() { None } else { Some(range(host).with_context(doing)?) };
    let count = inner.clone().count();
    if host.as_ref().is_some_and(|host| host.clone().count() != count) {
        bail!("{}: the two ranges are not of one length", doing());
    }
    if count > MAX_RANGE {
        bail!("{}: {count} ports are more than {MAX_RANGE}", doing());
    }
    let first = host.map(|host| *host.start());
    let one = |(at, port): (u16, u16)| PublishedPort {
        host_port: first.map_or(0, |first| u32::from(first) + u32::from(at)),
        port: port.into(),
        protocol: protocol.to_owned(),
        host_address: address.map(|address| address.to_string()).unwrap_or_default(),
    };
    Ok((0..).zip(inner).map(one).collect())
}

/// The address, the machine's port and the container's.
fn parts(text: &str) -> Result<(Option<IpAddr>, &str, &str)> {
    let (address, ports) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, ports) = rest.split_once("]:").context("it is not [ADDRESS]:PORTS")?;
            let parsed = address.parse::<Ipv6Addr>().ok();
            let parsed = parsed.with_context(|| format!("{address:?} is no address of IPv6"))?;
            (Some(parsed.into()), ports)
        }
        None => match text.rsplitn(3, ':').collect::<Vec<_>>()[..] {
            [_, _, address] => {
                let parsed = address.parse::<Ipv4Addr>().ok();
                let wrong = || format!("{address:?} is no address, one of IPv6 is in brackets");
                (Some(parsed.with_context(wrong)?.into()), &text[address.len() + 1..])
            }
            _ => (None, text),
        },
    };
    match ports.split_once(':') {
        Some((host, inner)) => Ok((address, host, inner)),
        None if address.is_some() => {
            bail!("ports are missing, write ADDRESS:HOSTPORT:PORT or ADDRESS::PORT")
        }
        None => Ok((None, "", ports)),
    }
}

/// `PORT` or `FIRST-LAST`.
fn range(text: &str) -> Result<RangeInclusive<u16>> {
    let number = |text: &str| {
        let number = text.parse::<u16>().ok().filter(|number| *number > 0);
        number.with_context(|| format!("{text:?} is no port, there are 1 to 65535"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        bail!("{text:?} ends before it begins");
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, u32, u32, String)> {
        let one = |p: PublishedPort| (p.host_address, p.host_port, p.port, p.protocol);
        published(text).unwrap().into_iter().map(one).collect()
    }

    fn port(address: &str, host: u32, port: u32, protocol: &str) -> (String, u32, u32, String) {
        (address.into(), host, port, protocol.into())
    }

    #[test]
    fn ports_are_read_in_every_form() {
        assert_eq!(read("8080:80"), [port("", 8080, 80, "tcp")]);
        assert_eq!(read("53:5353/udp"), [port("", 53, 5353, "udp")]);
        assert_eq!(read("80"), [port("", 0, 80, "tcp")]);
        assert_eq!(read("127.0.0.1:8080:80/sctp"), [port("127.0.0.1", 8080, 80, "sctp")]);
        assert_eq!(read("127.0.0.1::80"), [port("127.0.0.1", 0, 80, "tcp")]);
        assert_eq!(read("[::1]:8080:80"), [port("::1", 8080, 80, "tcp")]);
        assert_eq!(read("[fd00::1]::80"), [port("fd00::1", 0, 80, "tcp")]);
        let range = [port("", 8000, 90, "tcp"), port("", 8001, 91, "tcp")];
        assert_eq!(read("8000-8001:90-91"), range);
        assert_eq!(
            read("90-91").iter().map(|p| (p.1, p.2)).collect::<Vec<_>>(),
            [(0, 90), (0, 91)]
        );
        assert_eq!(read("65535:65535")[0].1, 65535);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for (text, says) in [
            ("", "no port"),
            ("0:80", "\"0\" is no port"),
            ("80:65536", "\"65536\" is no port"),
            ("80:", "no port"),
            ("80/icmp", "none of tcp"),
            ("90-80", "ends before"),
            ("8000-8002:90-91", "not of one length"),
            ("1-60000", "more than 256"),
            ("here:80:80", "\"here\" is no address"),
            ("::1:80:80", "in brackets"),
            ("[::1]80:80", "[ADDRESS]"),
            ("[1.2.3.4]:80:80", "no address of IPv6"),
            ("[::1]:80", "ports are missing"),
            (":80:80", "no address"),
        ] {
            let said = format!("{:#}", published(text).unwrap_err());
            assert!(said.contains(says) && said.contains("port "), "{text}: {said}");
        }
    }
}
