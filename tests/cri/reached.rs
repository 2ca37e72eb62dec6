//! What a pod's configuration says of its network, its resolver, the kernel's settings and what it needs beside its containers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{run, until};
use serde_json::json;

use crate::stage::{SOON, on_a_node, pod, shell};

/// The node's address in the network of pods.
const NODE: &str = "10.77.0.1";

fn port(protocol: cri::Protocol, container_port: i32, host_port: i32) -> cri::PortMapping {
    cri::PortMapping { protocol: protocol.into(), container_port, host_port, ..Default::default() }
}

/// What a web server says at an address.
fn fetched(address: &str) -> Result<String> {
    let address: SocketAddr = address.parse()?;
    let mut client = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    client.set_read_timeout(Some(SOON))?;
    client.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut got = String::new();
    client.read_to_string(&mut got)?;
    Ok(got)
}

#[test]
fn ports_of_the_node_lead_to_a_pod_for_as_long_as_it_is_there() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let mut config = pod("ports");
        config.port_mappings = vec![
            port(cri::Protocol::Tcp, 8000, 18_000),
            port(cri::Protocol::Udp, 8053, 18_053),
            // Not published.
            port(cri::Protocol::Tcp, 8001, 0),
        ];
        let id = stage.run_pod(&config)?;
        let script = "mkdir /w; echo it works > /w/index.html; exec httpd -f -p 8000 -h /w";
        stage.started(&id, &shell("web", &stage.image, script), &config)?;
        let published = format!("{NODE}:18000");
        until("the server is reached", SOON, || {
            fetched(&published).is_ok_and(|got| got.ends_with("it works\n"))
        })?;

        // A server in the pod's namespace, and a client outside.
        let all = berth_netns::list(&stage.node.path("state/runtime/.netns"))?;
        let [inside] = &*all else { anyhow::bail!("{all:?}") };
        let server = inside.enter(|| UdpSocket::bind("0.0.0.0:8053"))??;
        let client = UdpSocket::bind("0.0.0.0:0")?;
        client.connect((NODE, 18_053))?;
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(SOON))?;
        }
        client.send(b"asked")?;
        let mut text = [0; 16];
        let (length, from) = server.recv_from(&mut text)?;
        assert_eq!(&text[..length], b"asked");
        server.send_to(b"answered", from)?;
        let length = client.recv(&mut text)?;
        assert_eq!(&text[..length], b"answered");

        ensure!(run("iptables-save -t nat")?.contains("18000"), "how else is it reached");
        stage.stop_pod(&id)?;
        ensure!(fetched(&published).is_err(), "{published} is still reached");
        let rules = run("iptables-save -t nat")?;
        ensure!(!rules.contains("18000") && !rules.contains("18053"), "{rules}");
        Ok(stage.remove_pod(&id)?)
    })
}

#[test]
fn containers_ask_the_servers_that_their_pod_names() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut config = pod("resolves");
        config.dns_config = Some(cri::DnsConfig {
            servers: words(&["10.77.0.53", "fd77::53"]),
            searches: words(&["tests.svc.cluster.local", "cluster.local"]),
            options: words(&["ndots:5", "edns0"]),
        });
        let id = stage.run_pod(&config)?;
        let one = stage.started(&id, &shell("one", &stage.image, "sleep 100000"), &config)?;
        let seen = stage.said(&one, "cat /etc/resolv.conf")?;
        let mut lines: Vec<_> = seen.lines().collect();
        lines.sort_unstable();
        let expected = [
            "nameserver 10.77.0.53",
            "nameserver fd77::53",
            "options ndots:5 edns0",
            "search tests.svc.cluster.local cluster.local",
        ];
        assert_eq!(lines, expected);

        // One that says nothing has the node's.
        let other = pod("as-the-node");
        let id = stage.run_pod(&other)?;
        let one = stage.started(&id, &shell("one", &stage.image, "sleep 100000"), &other)?;
        let of_node = fs_err::read_to_string("/etc/resolv.conf")?;
        assert_eq!(stage.said(&one, "cat /etc/resolv.conf")?, of_node.trim_end());
        Ok(())
    })
}

#[test]
fn settings_of_the_kernel_are_those_of_the_pod() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let read = |config: &cri::PodSandboxConfig| -> Result<String> {
            let id = stage.run_pod(config)?;
            let one = stage.started(&id, &shell("one", &stage.image, "sleep 100000"), config)?;
            stage.said(&one, "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start kernel/msgmax")
        };
        let mut config = pod("set");
        let linux = config.linux.get_or_insert_default();
        linux.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "77".to_owned());
        linux.sysctls.insert("kernel.msgmax".to_owned(), "4321".to_owned());
        assert_eq!(read(&config)?, "77\n4321");
        let others = read(&pod("unset"))?;
        ensure!(!others.contains("77") && !others.contains("4321"), "{others}");
        Ok(())
    })
}

#[test]
fn what_a_pod_needs_is_told_and_on_record() -> Result<()> {
    on_a_node(|stage| {
        let mut config = pod("needs");
        let linux = config.linux.get_or_insert_default();
        linux.overhead = Some(cri::LinuxContainerResources {
            memory_limit_in_bytes: 16 << 20,
            cpu_shares: 128,
            ..Default::default()
        });
        linux.resources = Some(cri::LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            ..Default::default()
        });
        let id = stage.run_pod(&config)?;
        let as_asked = |info: &serde_json::Value| {
            let linux = &info["config"]["linux"];
            assert_eq!(
                linux["overhead"],
                json!({"memory_limit_in_bytes": 16 << 20, "cpu_shares": 128})
            );
            assert_eq!(linux["resources"]["memory_limit_in_bytes"], 64 << 20);
            assert_eq!(linux["resources"]["cpu_quota"], 50_000);
        };
        as_asked(&stage.details(&id)?);
        let told = stage.node.ctr("-n k8s.io containers info").args([&id]).output()?.ok()?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        let notes = &told["Spec"]["annotations"];
        for (name, value) in [
            ("cpu-period", "100000"),
            ("cpu-quota", "50000"),
            ("cpu-shares", "512"),
            ("memory", "67108864"),
        ] {
            assert_eq!(notes[format!("io.kubernetes.cri.sandbox-{name}")], value, "{name}");
        }
        // Also by a service that was not there when it was asked for.
        stage.node.kill_service("berth-cri")?;
        until("the pod is known again", SOON, || stage.pod(&id).is_ok())?;
        as_asked(&stage.details(&id)?);
        Ok(stage.remove_pod(&id)?)
    })
}
