//! What containers see of networks: each other, their names, ports of the machine.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use berth_proto::berth::node::v1 as wire;
use berth_testkit::run;
use tonic::Code;

use crate::stage::{Stage, addresses, inside, on, on_a_node};
use crate::support::until;

const ATTEMPT: Duration = Duration::from_millis(500);

/// Answers each client on port 80 with what it says, for as long as the test lives.
fn serve(attachment: &wire::Attachment) {
    let listen = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80)).unwrap();
    let listener = inside(attachment).enter(listen).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut word) = (client.unwrap(), [0; 4]);
            if client.read_exact(&mut word).is_ok() {
                let _ = client.write_all(&word);
            }
        }
    });
}

fn answers(to: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&to, ATTEMPT)?;
        stream.set_read_timeout(Some(ATTEMPT))?;
        stream.write_all(b"ping")?;
        let mut word = [0; 4];
        stream.read_exact(&mut word)?;
        Ok::<_, std::io::Error>(&word == b"ping")
    };
    ask().unwrap_or(false)
}

fn lines(path: &str) -> Vec<String> {
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().skip(2).map(str::to_owned).collect()
}

#[test]
fn two_on_a_network_reach_each_other_and_know_each_others_names() {
    on_a_node(async |stage: Stage| {
        stage.create("web").await.unwrap();
        stage.create("other").await.unwrap();
        let mut server = on(&["web"], "server");
        server.hostname = "db.example".into();
        server.networks[0].aliases = vec!["database".into()];
        let server = stage.attach(server).await.unwrap();
        let mut client = on(&["web"], "client");
        client.hosts =
            vec![wire::HostsEntry { address: "10.1.1.1".into(), names: vec!["x".into()] }];
        let client = stage.attach(client).await.unwrap();
        stage.attach(on(&["other"], "apart")).await.unwrap();
        serve(&server);
        let ips = addresses(&server, 0);
        assert_eq!(ips.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>(), [true, false]);
        for ip in &ips {
            let reached = || inside(&client).enter(|| answers((*ip, 80).into())).unwrap();
            until(&format!("{ip} reached"), reached).await;
        }
        let of = |ips: &[IpAddr], names: &str| {
            ips.iter().map(|ip| format!("{ip}\t{names}")).collect::<Vec<_>>()
        };
        let own = of(&addresses(&client, 0), "client");
        let theirs = of(&ips, "db.example server database");
        let more = vec!["10.1.1.1\tx".to_owned()];
        assert_eq!(lines(&client.hosts_file), [&own[..], &more, &theirs].concat());
        assert_eq!(lines(&server.hosts_file), [&theirs[..], &own].concat());
        let local = fs_err::read_to_string(&client.hosts_file).unwrap();
        assert!(local.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost "), "{local}");
        for (file, says) in
            [(&server.hostname_file, "db.example\n"), (&client.hostname_file, "client\n")]
        {
            assert_eq!(fs_err::read_to_string(file).unwrap(), says);
        }
        // It is mounted into the container: it stays the same file.
        let inode = fs_err::metadata(&client.hosts_file).unwrap().ino();
        stage.detach("server").await.unwrap();
        assert_eq!(lines(&client.hosts_file), [&own[..], &more].concat());
        assert_eq!(fs_err::metadata(&client.hosts_file).unwrap().ino(), inode);
        for id in ["client", "apart"] {
            stage.detach(id).await.unwrap();
        }
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn ports_of_the_machine_lead_into_one_container() {
    on_a_node(async |stage: Stage| {
        stage.create("web").await.unwrap();
        let port = |host_port: u32, host_address: &str| wire::PublishedPort {
            host_port,
            port: 80,
            protocol: String::new(),
            host_address: host_address.into(),
        };
        let mut server = on(&["web"], "server");
        server.ports = vec![port(8080, "")];
        let server = stage.attach(server).await.unwrap();
        serve(&server);
        assert_eq!(server.ports[0].protocol, "tcp");
        let gateways: Vec<IpAddr> =
            server.interfaces[0].gateways.iter().map(|ip| ip.parse().unwrap()).collect();
        assert_eq!(gateways.len(), 2);
        for gateway in &gateways {
            let reached = || answers((*gateway, 8080).into());
            until(&format!("{gateway} leads there"), reached).await;
        }
        for (number, host_address, taken) in
            [(8080, "", true), (8080, "127.0.0.1", true), (8081, "", false)]
        {
            let mut second = on(&["web"], "second");
            second.ports = vec![port(number, host_address)];
            let attached = stage.attach(second).await;
            match taken {
                false => drop(attached.unwrap()),
                true => {
                    let refused = attached.unwrap_err();
                    assert_eq!(refused.code(), Code::FailedPrecondition);
                    let says =
                        "port 8080/tcp of the machine leads to test/server: failed precondition";
                    assert_eq!(refused.message(), says);
                    assert_eq!(stage.attachment("second").await, None);
                }
            }
        }
        stage.detach("server").await.unwrap();
        assert!(!answers((gateways[0], 8080).into()));
        stage.detach("second").await.unwrap();
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn several_networks_with_addresses_of_choice_have_one_way_out() {
    on_a_node(async |stage: Stage| {
        for (name, internal) in [("first", false), ("second", false), ("inner", true)] {
            let name = name.to_owned();
            let request = wire::CreateNetworkRequest { name, internal, ..Default::default() };
            stage.create_with(request).await.unwrap();
        }
        let mut request = on(&["first", "second", "inner"], "a");
        request.networks[0].addresses = vec!["10.89.0.77".into(), "fd62:6572:7468::77".into()];
        request.networks[0].mac = "02:00:00:00:00:07".into();
        request.networks[1].interface = "lan0".into();
        request.dns = Some(wire::DnsChoice {
            servers: vec!["10.9.9.9".into()],
            searches: vec!["corp.example".into()],
            options: vec!["ndots:1".into()],
        });
        let a = stage.attach(request).await.unwrap();
        let named: Vec<_> = a.interfaces.iter().map(|i| (&*i.name, &*i.network)).collect();
        assert_eq!(named, [("eth0", "first"), ("lan0", "second"), ("eth2", "inner")]);
        let expected: [IpAddr; 2] =
            ["10.89.0.77".parse().unwrap(), "fd62:6572:7468::77".parse().unwrap()];
        assert_eq!(addresses(&a, 0), expected);
        assert_eq!(a.interfaces[0].mac, "02:00:00:00:00:07");
        let routes =
            inside(&a).enter(|| ["-4", "-6"].map(|v| run(&format!("ip {v} route")).unwrap()));
        for routes in routes.unwrap() {
            let defaults: Vec<_> = routes.lines().filter(|r| r.starts_with("default")).collect();
            assert!(defaults.len() == 1 && defaults[0].contains("dev eth0"), "{routes}");
        }
        let resolver = fs_err::read_to_string(&a.resolv_file).unwrap();
        assert_eq!(resolver, "search corp.example\noptions ndots:1\nnameserver 10.9.9.9\n");
        let inner = stage.attach(on(&["inner"], "b")).await.unwrap();
        let routes = inside(&inner).enter(|| run("ip route").unwrap()).unwrap();
        assert!(!routes.contains("default"), "{routes}");
        for id in ["a", "b"] {
            stage.detach(id).await.unwrap();
        }
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}
