//! Those who watch over a node: Debian's Prometheus and its tools, and whoever asks for health.

mod deployed;
mod domain;
mod prometheus;

use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Image, Node, Registry, Signal, program, until};

use prometheus::Prometheus;

/// A node that tells what it counts, and where.
fn observed() -> Result<(Node, String)> {
    let node = Node::start_with("[metrics]\naddress = \"127.0.0.1:0\"\n")?;
    let address = told_at(&node)?;
    Ok((node, address))
}

/// Where a node tells it, of several places the last.
pub fn told_at(node: &Node) -> Result<String> {
    let log = node.log()?;
    let (_, address) = log.rsplit_once("address=Some(127").context("where it tells")?;
    Ok(format!("127{}", address.split(')').next().unwrap_or_default()))
}

fn get(url: &str) -> Result<String> {
    program("curl").args(["-sS", "--max-time", "10", url]).output()?.ok()
}

/// What a node tells there when it could look up all of it in time, which a busy machine may not let it
/// at once.
fn whole(address: &str, path: &str) -> Result<String> {
    let url = format!("http://{address}{path}");
    let mut text = String::new();
    until("the node tells all that there is", Duration::from_secs(60), || {
        text = get(&url).unwrap_or_default();
        let up =
            |line: &&str| line.starts_with("berth_up{") || line.starts_with("berth_scrape_up{");
        let missing = |line: &str| {
            let asked = line.contains("state=\"unknown\"") || line.contains("state=\"unasked\"");
            asked || line.starts_with("berth_container_usage_missing{")
        };
        let mut ups = text.lines().filter(up).peekable();
        ups.peek().is_some()
            && ups.all(|line| line.ends_with(" 1"))
            && text.lines().all(|line| !missing(line) || line.ends_with(" 0"))
    })?;
    Ok(text)
}

#[test]
fn what_is_told_is_as_prometheus_wants_it_and_prometheus_collects_it() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let (node, address) = observed()?;
    node.berth(&format!("run --rm {image} true")).output()?.ok()?;
    node.berth("inspect none").output()?.fails(1)?;
    let text = whole(&address, "/metrics")?;
    let checked = program("promtool").args(["check", "metrics"]).output_with(text.as_bytes())?;
    assert_eq!((checked.code, checked.stdout.as_str()), (0, ""), "{checked}");
    for sample in [
        "berth_grpc_calls_total{service=\"runtime\",method=\"/containerd.services.tasks.v1.Tasks/Create\",code=\"OK\"} 1",
        "berth_grpc_call_seconds_count{service=\"runtime\",method=\"/containerd.services.tasks.v1.Tasks/Create\"} 1",
        "berth_up{service=\"bundle\"} 1",
    ] {
        assert!(text.contains(sample), "{sample} is not in {text}");
    }
    assert!(text.contains("code=\"NOT_FOUND\""), "{text}");

    let prometheus = Prometheus::start(&address)?;
    // Each collection has what the services told in time.
    let mut told = (None, None);
    until("Prometheus has collected all", Duration::from_secs(60), || {
        let value = |query: &str| prometheus.value(query).ok().flatten();
        let started = "sum(berth_grpc_calls_total{method=~\".*Tasks/Start\"})";
        told = (value("sum(berth_up)"), value(started));
        (told.0.as_deref(), told.1.as_deref()) == (Some("3"), Some("1"))
    })
    .with_context(|| format!("{told:?}"))
}

#[test]
fn the_place_follows_the_configuration_and_one_that_is_taken_is_not_left_for() -> Result<()> {
    let (node, first) = observed()?;
    let healthy = |address: &str| get(&format!("http://{address}/healthz"));
    let left = |address: &str| {
        let refused = || std::net::TcpStream::connect(address).is_err();
        until("nobody listens there", Duration::from_secs(60), refused)
    };
    let metrics = |address: &str| format!("[metrics]\naddress = {address:?}\n");
    node.reload(&metrics("127.0.0.2:0"), "metrics.address", 1)?;
    let second = told_at(&node)?;
    assert_ne!(first, second);
    assert_eq!(healthy(&second)?, "ok\n");
    left(&first)?;

    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let third = taken.local_addr()?.to_string();
    node.reload(&metrics(&third), "", 5)?;
    let log = node.log()?;
    let stays = "what is in force of these stays error=\"listen on metrics.address";
    assert!(log.contains(stays) && log.contains("keys=\"metrics.address\""), "{log}");
    assert_eq!(healthy(&second)?, "ok\n");
    // The same configuration is enough once the address is free.
    drop(taken);
    node.reload(&metrics(&third), "metrics.address", 1)?;
    assert_eq!(healthy(&third)?, "ok\n");
    left(&second)?;

    node.reload("", "metrics.address", 1)?;
    left(&third)?;
    node.berth("version").output()?.ok()?;
    Ok(())
}

#[test]
fn health_says_which_service_does_not_answer() -> Result<()> {
    let (node, address) = observed()?;
    let status = |path: &str| -> Result<(String, String)> {
        let url = format!("http://{address}{path}");
        let told = program("curl")
            .args(["-sS", "--max-time", "10", "-w", "%{http_code}", &url])
            .output()?
            .ok()?;
        let (text, code) = told.split_at(told.len().saturating_sub(3));
        Ok((code.to_owned(), text.to_owned()))
    };
    // A service has two seconds to answer, which one that is well may miss on a busy machine.
    let becomes = |code: &str, text: &str| {
        let mut last = String::new();
        until("health is told", Duration::from_secs(60), || {
            let (now, told) = status("/readyz").unwrap_or_default();
            last = format!("{now} {told}");
            now == code && told.contains(text)
        })
        .with_context(|| last.clone())
    };
    assert_eq!(status("/healthz")?, ("200".into(), "ok\n".into()));
    becomes("200", "distribution: ok\nbundle: ok\nruntime: ok\n")?;
    assert_eq!(status("/none")?.0, "404");
    node.signal_service("berth-bundle", Signal::STOP)?;
    becomes("503", "distribution: ok\nbundle: does not answer within 2s\nruntime: ok\n")?;
    let mut metrics = String::new();
    until("bundle alone is told to be down", Duration::from_secs(60), || {
        metrics = get(&format!("http://{address}/metrics")).unwrap_or_default();
        let up = |service, value| {
            metrics.contains(&format!("berth_up{{service=\"{service}\"}} {value}\n"))
        };
        up("distribution", 1) && up("bundle", 0) && up("runtime", 1)
    })
    .with_context(|| metrics.clone())?;
    assert_eq!(status("/healthz")?.0, "200");
    node.signal_service("berth-bundle", Signal::CONT)?;
    becomes("200", "bundle: ok\n")
}

/// Who watches over one service alone, by HTTP or by gRPC, finds it on the service's own socket.
#[test]
fn each_service_tells_its_health_on_its_own_socket() -> Result<()> {
    /// grpc.health.v1's empty request, and its answer that it serves, as they are on the wire.
    const ASK: [u8; 5] = [0; 5];
    const SERVES: &str = "\0\0\0\0\u{2}\u{8}\u{1}";
    let node = Node::start()?;
    // The node answers before all of its services do.
    for line in ["images ls", "snapshots ls", "containers ls"] {
        node.ctr(line).output()?.ok()?;
    }
    for service in ["distribution", "bundle", "runtime"] {
        let socket = node.socket(service);
        let curl = || {
            let curl = program("curl").args(["-sS", "--max-time", "20"]);
            curl.args(["--http2-prior-knowledge", "--unix-socket"]).args([&socket])
        };
        for path in ["/healthz", "/readyz"] {
            let told = curl().args([format!("http://localhost{path}")]).output()?.ok()?;
            assert_eq!(told, "ok\n", "{service}");
        }
        let told = curl()
            .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
            .args(["--data-binary", "@-", "http://localhost/grpc.health.v1.Health/Check"])
            .output_with(&ASK)?
            .ok()?;
        assert_eq!(told, SERVES, "{service}");
    }
    Ok(())
}
