//! Ports of the node that lead into containers, reached by clients of both families.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use berth_cni::{Attachment, Capabilities, PortMapping};
use berth_netns::NetNs;
use berth_testkit::run;
use serde_json::json;

use crate::node::{Node, on_a_node, soon};

/// How long one attempt may take; there are many.
const ATTEMPT: Duration = Duration::from_millis(500);

/// Answers each client with what it says, on port 80 of both protocols, for as long as the test lives.
fn serve(attachment: &Attachment) {
    let any = (Ipv6Addr::UNSPECIFIED, 80);
    let ns = NetNs::at(attachment.netns.clone().unwrap());
    let sockets = ns.enter(|| (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap()));
    let (tcp, udp) = sockets.unwrap();
    std::thread::spawn(move || {
        for client in tcp.incoming() {
            let mut client = client.unwrap();
            let mut word = [0; 4];
            if client.read_exact(&mut word).is_ok() {
                let _ = client.write_all(&word);
            }
        }
    });
    std::thread::spawn(move || {
        let mut word = [0; 4];
        while let Ok((length, client)) = udp.recv_from(&mut word) {
            let _ = udp.send_to(&word[..length], client);
        }
    });
}

fn tcp(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, ATTEMPT)?;
    stream.set_read_timeout(Some(ATTEMPT))?;
    stream.write_all(b"ping")?;
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    assert_eq!(&word, b"ping");
    Ok(())
}

fn udp(to: SocketAddr) -> std::io::Result<()> {
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(ATTEMPT))?;
    socket.send(b"ping")?;
    let mut word = [0; 4];
    socket.recv(&mut word)?;
    assert_eq!(&word, b"ping");
    Ok(())
}

/// Whether both protocols get an answer.
fn reached(ip: IpAddr) -> bool {
    tcp((ip, 8080).into()).is_ok() && udp((ip, 8053).into()).is_ok()
}

fn port(protocol: &str, host_port: u16) -> PortMapping {
    PortMapping { host_port, container_port: 80, protocol: protocol.into(), host_ip: None }
}

#[test]
fn ports_are_reached_from_the_node_and_from_others_by_both_families() {
    on_a_node(async |node: Node| {
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
        let network = node.network("1.0.0", json!([node.bridge(), portmap]));
        // Clients are on a network of another kind: a link to the node each.
        let ipam = node.ipam("10.99.0.0/24", "fd99::/64");
        let ptp = json!([{"type": "ptp", "ipMasq": false, "ipam": ipam}]);
        let clients = node.named("clients", "1.0.0", ptp);
        let mut server = node.container("server");
        server.capabilities = Capabilities {
            port_mappings: vec![port("tcp", 8080), port("udp", 8053)],
            ..Capabilities::default()
        };
        node.engine.add(&network, &server).await.unwrap();
        serve(&server);
        let client = node.container("client");
        let outcome = node.engine.add(&clients, &client).await.unwrap();
        let gateways: Vec<_> = outcome.result.ips.iter().filter_map(|ip| ip.gateway).collect();
        assert_eq!(gateways.len(), 2, "{outcome:?}");
        for gateway in &gateways {
            // New IPv6 addresses are not used before they are known to be nobody else's.
            soon(&format!("the node reaches {gateway}"), || reached(*gateway)).await;
            let ns = NetNs::at(client.netns.clone().unwrap());
            let inside = || ns.enter(|| reached(*gateway)).unwrap();
            soon(&format!("a client reaches {gateway}"), inside).await;
        }
        // Not checked: this version of portmap looks for the rules of each family among those of both.
        // What DEL is told of ports does not count, but what ADD was.
        server.capabilities = Capabilities::default();
        node.engine.del(&network, &server).await.unwrap();
        assert!(tcp((gateways[0], 8080).into()).is_err());
        node.engine.del(&clients, &client).await.unwrap();
        assert_eq!(node.left(), [""; 0]);
        let data = fs_err::read_dir(node.path("data/clients")).unwrap();
        let kept = data
            .filter(|f| f.as_ref().unwrap().file_name().to_string_lossy().starts_with(['1', 'f']));
        assert_eq!(kept.count(), 0);
        assert!(!run("iptables-save").unwrap().contains("8080"));
    });
}
