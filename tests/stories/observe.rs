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
    let log = node.log()?;
    let (_, address) = log.split_once("address=Some(127").context("where it tells")?;
    let address = address.split(')').next().unwrap_or_default();
    Ok((node, format!("127{address}")))
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
    let text = get(&format!("http://{address}/metrics"))?;
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
    let collected = || matches!(prometheus.value("sum(berth_up)"), Ok(Some(sum)) if sum == "3");
    until("Prometheus has collected", Duration::from_secs(30), collected)?;
    let started = prometheus.value("sum(berth_grpc_calls_total{method=~\".*Tasks/Start\"})")?;
    assert_eq!(started.as_deref(), Some("1"));
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
    assert_eq!(status("/healthz")?, ("200".into(), "ok\n".into()));
    let all = "distribution: ok\nbundle: ok\nruntime: ok\n";
    assert_eq!(status("/readyz")?, ("200".into(), all.into()));
    assert_eq!(status("/none")?.0, "404");
    node.signal_service("berth-bundle", Signal::STOP)?;
    let (code, text) = status("/readyz")?;
    assert_eq!(code, "503");
    assert!(text.contains("bundle: does not answer within 2s\nruntime: ok"), "{text}");
    let metrics = get(&format!("http://{address}/metrics"))?;
    assert!(metrics.contains("berth_up{service=\"bundle\"} 0"), "{metrics}");
    assert!(metrics.contains("berth_up{service=\"runtime\"} 1"), "{metrics}");
    assert_eq!(status("/healthz")?.0, "200");
    node.signal_service("berth-bundle", Signal::CONT)?;
    let ready = || matches!(status("/readyz"), Ok((code, _)) if code == "200");
    until("bundle answers again", Duration::from_secs(60), ready)
}
