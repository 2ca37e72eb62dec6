//! Ports of the machine that lead into containers, used by clients beside the node.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use berth_netns::NetNs;
use berth_testkit::until;

use super::stage::{SERVE, SOON, in_a_network};
use crate::stage::Stage;

const ATTEMPT: Duration = Duration::from_millis(500);

/// What a web server answers.
fn get(to: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, ATTEMPT)?;
    stream.set_read_timeout(Some(ATTEMPT))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What a datagram is answered with.
fn ask(to: SocketAddr) -> std::io::Result<String> {
    let any: SocketAddr =
        if to.is_ipv4() { ([0; 4], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(ATTEMPT))?;
    socket.send_to(b"ping", to)?;
    let mut answer = [0; 16];
    let (count, _) = socket.recv_from(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..count]).into_owned())
}

/// The container's port of the machine that leads to this one of it.
fn published(stage: &Stage, name: &str, port: u16) -> Result<u16> {
    let network = stage.inspected(&format!("inspect {name}"))?["network"].clone();
    let ports = network["ports"].as_array().cloned().unwrap_or_default();
    let found = ports.iter().find(|one| one["port"] == port);
    let found = found.and_then(|one| one["host_port"].as_u64());
    Ok(u16::try_from(found.with_context(|| format!("{port} is not in {network}"))?)?)
}

/// Its gateways: addresses of the machine.
fn gateways(stage: &Stage, name: &str) -> Result<Vec<std::net::IpAddr>> {
    let network = stage.inspected(&format!("inspect {name}"))?["network"].clone();
    Ok(serde_json::from_value(network["interfaces"][0]["gateways"].clone())?)
}

#[test]
fn a_port_of_the_machine_leads_into_a_container() -> Result<()> {
    in_a_network(|stage| {
        // The default network is made by whoever asks for it first.
        let flags = "-d --name net-port --net bridge -p 8080:80 -p 80 -p 5300-5301:53-54/udp";
        stage.run(flags, SERVE).output()?.ok()?;
        let gateways = gateways(stage, "net-port")?;
        assert_eq!(gateways.len(), 2);
        let free = published(stage, "net-port", 80)?;
        let chosen =
            stage.inspected("inspect net-port")?["network"]["ports"][1]["host_port"].clone();
        let chosen = u16::try_from(chosen.as_u64().context("no second port")?)?;
        assert!(free == 8080 && chosen > 1024 && chosen != 8080, "{free} {chosen}");
        for gateway in &gateways {
            for port in [8080, chosen] {
                let reached = || get((*gateway, port).into()).is_ok_and(|a| a.contains("net-port"));
                until(&format!("{gateway} leads to it by {port}"), SOON, reached)?;
            }
        }
        let reached = || get(([127, 0, 0, 1], 8080).into()).is_ok_and(|a| a.contains("net-port"));
        until("loopback leads to it", SOON, reached)?;
        let row = stage.berth("ps")?;
        assert!(
            row.contains(&format!("8080->80/tcp, {chosen}->80/tcp, 5300-5301->53-54/udp")),
            "{row}"
        );
        let second = "run --name net-second --net bridge -p 8080:80 --rm";
        let refused = stage.refused(&format!("{second} {} true", stage.image))?;
        assert!(
            refused.contains("port 8080/tcp of the machine leads to default/net-port"),
            "{refused}"
        );
        assert_eq!(stage.json("ps -aq")?, serde_json::json!(["net-port"]));
        stage.berth("rm -f net-port")?;
        assert!(get((gateways[0], 8080).into()).is_err());
        stage.nothing_is_left()
    })
}

#[test]
fn datagrams_reach_a_container_and_are_answered() -> Result<()> {
    in_a_network(|stage| {
        stage.run("-d --name net-udp --net bridge -p 5300:53/udp", "sleep 600").output()?.ok()?;
        let netns = stage.inspected("inspect net-udp")?["network"]["netns"].clone();
        let netns = NetNs::at(netns.as_str().context("no namespace")?);
        // busybox has no server of UDP: it is in the container's network, and not among its processes.
        let bind = || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 53));
        let server = netns.enter(bind)??;
        server.set_read_timeout(Some(ATTEMPT))?;
        let over = AtomicBool::new(false);
        let gateways = gateways(stage, "net-udp")?;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut word = [0; 16];
                while !over.load(Ordering::SeqCst) {
                    if let Ok((count, from)) = server.recv_from(&mut word) {
                        let _ = server.send_to(&word[..count], from);
                    }
                }
            });
            let asked = gateways.iter().try_for_each(|gateway| {
                let answered = || ask((*gateway, 5300).into()).is_ok_and(|a| a == "ping");
                until(&format!("{gateway} leads to it"), SOON, answered)
            });
            over.store(true, Ordering::SeqCst);
            asked
        })?;
        stage.berth("rm -f net-udp")?;
        stage.nothing_is_left()
    })
}
