//! Clients over TCP, as containerd's file has them; curl goes for one of them.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Authority, Node, Output, program, until};

const SOON: Duration = Duration::from_secs(60);

fn authority() -> Result<Authority> {
    let authority = Authority::new()?;
    authority.issue("node")?;
    authority.issue("client")?;
    Ok(authority)
}

/// A file of containerd's version 2, for clients with a certificate of this authority if there is one.
fn file(of: Option<&Authority>) -> String {
    let mut text =
        "version = 2\n[debug]\nlevel = \"info,berth_gateway=debug\"\n[grpc]\n".to_owned();
    if let Some(of) = of {
        text.push_str("tcp_address = \"127.0.0.1:0\"\n");
        for (key, name) in [("ca", "ca.pem"), ("cert", "node.pem"), ("key", "node.key")] {
            text.push_str(&format!("tcp_tls_{key} = \"{}\"\n", of.path(name).display()));
        }
    }
    text
}

/// Where the node listens, of which the kernel has chosen the port.
fn address(node: &Node) -> Result<String> {
    let log = node.log()?;
    let (_, rest) = log.split_once("clients over TCP address=Some(").context("where it listens")?;
    Ok(rest.split(')').next().unwrap_or_default().to_owned())
}

/// Asks there for the version, and prints after it where it was asked from.
fn ask(at: &str, trusts: &Authority, shows: Option<&Authority>) -> Result<Output> {
    let mut curl = program("curl")
        .args(["-sS", "--http2", "--noproxy", "*", "--max-time", "60"])
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
        .args(["--data-binary", "@-", "-w", "\n%{local_ip}:%{local_port}"])
        .args(["--cacert".into(), trusts.path("ca.pem")]);
    if let Some(of) = shows {
        let (cert, key) = (of.path("client.pem"), of.path("client.key"));
        curl = curl.args(["--cert".into(), cert, "--key".into(), key]);
    }
    let url = format!("https://{at}/containerd.services.version.v1.Version/Version");
    // A message without fields: not compressed, of no bytes.
    curl.args([url]).output_with(&[0; 5])
}

/// Where a client asked from that was answered.
fn answered(client: Output) -> Result<String> {
    let printed = client.ok()?;
    let (answer, from) = printed.rsplit_once('\n').context("an answer")?;
    assert!(answer.contains("berth-"), "{answer:?}");
    Ok(from.to_owned())
}

fn refused(client: &Output) {
    assert!(client.code != 0 && !client.stdout.contains("berth-"), "{client}");
}

#[test]
fn who_has_a_certificate_calls_over_tcp_and_is_named() -> Result<()> {
    let own = authority()?;
    let node = Node::start_with(&file(Some(&own)))?;
    let at = address(&node)?;
    let logged = |text: &str| {
        let has = || node.log().is_ok_and(|log| log.contains(text));
        until(&format!("the log has {text}"), SOON, has)
    };
    let from = answered(ask(&at, &own, Some(&own))?)?;
    let method = "method=\"/containerd.services.version.v1.Version/Version\"";
    logged(&format!("call{{{method} address={from}}}: berth_gateway::front: call"))?;

    refused(&ask(&at, &own, None)?);
    logged("was not let in error=peer sent no certificates")?;
    let next = authority()?;
    refused(&ask(&at, &own, Some(&next))?);
    logged("was not let in error=invalid peer certificate")?;

    // Other files, at the address where it listens.
    let files = "gateway.tcp.ca, gateway.tcp.cert, gateway.tcp.key";
    node.reload(&file(Some(&next)), files, 1)?;
    answered(ask(&at, &next, Some(&next))?)?;
    refused(&ask(&at, &next, Some(&own))?);

    let all = format!(
        "gateway.tcp.address, {files}, gateway.tcp.max_recv_message_size, \
         gateway.tcp.max_send_message_size"
    );
    node.reload(&file(None), &all, 1)?;
    // Which is what curl ends with when nobody listens.
    let nobody = || ask(&at, &next, Some(&next)).is_ok_and(|client| client.code == 7);
    until("nobody listens there", SOON, nobody)?;
    node.berth("version").output()?.ok().map(drop)
}
