//! Choosing ports of the machine that nothing has.
//!
//! A port is free when no process listens on it and no container is published by it. Nothing holds it until it is
//! published; the node refuses one that somebody else was given meanwhile.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result, bail};
use berth_proto::berth::node::v1::PublishedPort;

use super::attach;
use crate::client::Client;

/// How many ports of the kernel's choice are looked at, for one.
const TRIES: usize = 256;

/// Gives each port that is 0 a number.
pub(super) async fn choose(client: &Client, ports: &mut [PublishedPort]) -> Result<()> {
    if ports.iter().all(|port| port.host_port != 0) {
        return Ok(());
    }
    let there = attach::all(client).await?;
    let there = there.iter().flat_map(|attachment| &attachment.ports).chain(&*ports);
    let taken = there.map(|port| (port.protocol.clone(), port.host_port)).collect();
    fill(ports, taken)
}

fn fill(ports: &mut [PublishedPort], mut taken: HashSet<(String, u32)>) -> Result<()> {
    // Those that are chosen stay open until all are, so that none comes twice.
    let mut open = Vec::new();
    for port in ports.iter_mut().filter(|port| port.host_port == 0) {
        let address = port.host_address.parse::<IpAddr>().ok();
        let mut chosen = None;
        for _ in 0..TRIES {
            let (number, held) = Held::any(&port.protocol, address)?;
            open.push(held);
            if taken.insert((port.protocol.clone(), number.into())) {
                chosen = Some(number);
                break;
            }
        }
        let Some(number) = chosen else { bail!("no port of the machine is free") };
        port.host_port = number.into();
    }
    Ok(())
}

/// A port that nobody else gets meanwhile.
enum Held {
    Tcp(#[expect(dead_code, reason = "held open")] TcpListener),
    Udp(#[expect(dead_code, reason = "held open")] UdpSocket),
}

impl Held {
    /// One of the kernel's choice; of SCTP there is none without its module, and TCP's do.
    fn any(protocol: &str, address: Option<IpAddr>) -> Result<(u16, Self)> {
        let opened = |address: IpAddr| -> std::io::Result<(u16, Self)> {
            let address = SocketAddr::from((address, 0));
            if protocol == "udp" {
                let socket = UdpSocket::bind(address)?;
                return Ok((socket.local_addr()?.port(), Self::Udp(socket)));
            }
            let socket = TcpListener::bind(address)?;
            Ok((socket.local_addr()?.port(), Self::Tcp(socket)))
        };
        let opened = match address {
            Some(address) => opened(address),
            None => opened(Ipv6Addr::UNSPECIFIED.into())
                .or_else(|_| opened(Ipv4Addr::UNSPECIFIED.into())),
        };
        opened.context("choose a port of the machine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_chosen_where_none_was_typed() {
        let port = |protocol: &str, host_port, host_address: &str| PublishedPort {
            host_port,
            port: 80,
            protocol: protocol.into(),
            host_address: host_address.into(),
        };
        let mut ports = vec![
            port("tcp", 0, ""),
            port("tcp", 8080, ""),
            port("udp", 0, "127.0.0.1"),
            port("tcp", 0, ""),
            port("sctp", 0, ""),
        ];
        fill(&mut ports, HashSet::new()).unwrap();
        assert!(ports.iter().all(|port| port.host_port > 0) && ports[1].host_port == 8080);
        assert_ne!(ports[0].host_port, ports[3].host_port);
    }

    #[test]
    fn what_is_published_is_not_chosen() {
        let all = (1..=65535).map(|port| ("tcp".to_owned(), port)).collect();
        let mut ports = vec![PublishedPort { protocol: "tcp".into(), ..Default::default() }];
        assert!(fill(&mut ports, all).unwrap_err().to_string().contains("is free"));
    }

    #[test]
    fn an_address_that_is_not_the_machines_is_told() {
        let mut ports =
            vec![PublishedPort { host_address: "192.0.2.1".into(), ..Default::default() }];
        assert!(fill(&mut ports, HashSet::new()).is_err());
    }
}
