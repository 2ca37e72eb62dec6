//! What a user of docker-compose.yml does and sees.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Layer, Signal, signal};

use crate::stage::{Stage, get};

const NODES: [u32; 3] = [1, 2, 3];
/// All but Grafana.
const STARTED: &str = "node-1 node-2 node-3 registry etcd otel prometheus";
/// As the machine calls it, and as the nodes do.
const PUSHED: &str = "127.0.0.1:5000/busybox:1";
const PULLED: &str = "registry:5000/busybox:1";

pub fn comes_up(stage: &Stage) -> Result<()> {
    stage.composed(&format!("up --build -d {STARTED}"))?;
    for node in NODES {
        stage.serves(node)?;
        let version = stage.berth(node, "version")?;
        let own = stage.node.berth("version").output()?.ok()?;
        ensure!(version == own, "{version} is not {own}");
    }
    Ok(())
}

/// The values of a Prometheus query, by instance.
fn asked(query: &str) -> Result<BTreeMap<String, String>> {
    let answer = get(9090, &format!("/api/v1/query?query={query}"))?;
    let results = answer["data"]["result"].as_array().with_context(|| answer.to_string())?;
    let value = |result: &serde_json::Value| {
        let instance = result["metric"]["instance"].as_str()?.to_owned();
        Some((instance, result["value"][1].as_str()?.to_owned()))
    };
    results.iter().map(value).collect::<Option<_>>().with_context(|| answer.to_string())
}

/// Prometheus has this of each of the three nodes.
fn told_of_all(stage: &Stage, query: &str, value: &str) -> Result<()> {
    let wanted: BTreeMap<_, _> =
        NODES.map(|node| (format!("node-{node}:1338"), value.to_owned())).into();
    stage.soon(&format!("{query} is {value}"), || {
        let told = asked(query)?;
        ensure!(told == wanted, "{told:?}");
        Ok(true)
    })
}

pub fn is_watched(stage: &Stage) -> Result<()> {
    told_of_all(stage, "up{job=%22berth%22}", "1")?;
    // Of the gateway, which is asked, it is known anyway.
    told_of_all(stage, "sum%20by(instance)(berth_up)", "4")?;
    let rules = get(9090, "/api/v1/rules")?;
    let rules = rules["data"]["groups"][0]["rules"].as_array().context("rules")?.clone();
    ensure!(rules.len() > 10, "{rules:?}");
    let health = of_etcd(stage, "GET", "/health", "")?;
    ensure!(health.contains(r#""health":"true""#), "{health}");
    // What is kept there is there when it comes back.
    of_etcd(stage, "POST", "/v3/kv/put", r#"{"key":"a2V5","value":"dmFsdWU="}"#).map(drop)
}

/// What etcd answers a node.
fn of_etcd(stage: &Stage, method: &str, path: &str, body: &str) -> Result<String> {
    let script = "exec 3<>/dev/tcp/etcd/2379 &&
        printf '%s %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s' $0 $1 ${#2} $2 >&3 && cat <&3";
    let answer = stage.compose("exec -T node-2 bash -c")?.args([script, method, path, body]);
    let answer = answer.output()?.ok()?;
    ensure!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    Ok(answer)
}

pub fn runs_what_was_pushed(stage: &Stage) -> Result<()> {
    stage.dockerd.import(Layer::busybox()?, PUSHED)?;
    stage.docker(&format!("push {PUSHED}")).output()?.ok()?;
    for node in [1, 2] {
        stage.berth(node, &format!("pull -q {PULLED}"))?;
        let said = stage.berth(node, &format!("run --rm {PULLED} echo hello"))?;
        ensure!(said == "hello\n", "{said}");
    }
    ensure!(stage.berth(3, "images -q")?.is_empty(), "nodes share images");
    stage.berth(1, &format!("run -d --name long {PULLED} sleep 3600"))?;
    says_inside(stage)
}

/// Each node shows all three, who has the image, and the container of node-1.
pub fn shows_what_all_nodes_hold(stage: &Stage) -> Result<()> {
    for node in NODES {
        stage.soon(&format!("node-{node} shows the cluster"), || {
            let count = |line: &str| -> Result<usize> {
                Ok(stage.berth(node, &format!("cluster {line} --json"))?.lines().count())
            };
            let found = (count("nodes")?, count(&format!("where {PULLED}"))?, count("ps")?);
            ensure!(found == (3, 2, 1), "{found:?}");
            Ok(true)
        })?;
    }
    Ok(())
}

/// Each says of itself what the others show of it, asked by another.
pub fn ask_each_other(stage: &Stage) -> Result<()> {
    for (asked, of) in [(1, 2), (2, 3), (3, 1)] {
        let said = stage.berth(asked, &format!("cluster node node-{of} --compare"))?;
        ensure!(
            said.starts_with(&format!("node-{of}: the view says what the node does")),
            "{said}"
        );
    }
    // What makes certificates is with none of them.
    let folder = stage.composed("exec -T node-1 ls /etc/berth/peers")?;
    ensure!(folder.split_whitespace().eq(["ca.pem", "node.key", "node.pem"]), "{folder}");
    Ok(())
}

/// The container `long` of node-1 runs.
fn says_inside(stage: &Stage) -> Result<()> {
    let said = stage.berth(1, "exec long echo inside")?;
    ensure!(said == "inside\n", "{said}");
    Ok(())
}

pub fn tells_its_traces(stage: &Stage) -> Result<()> {
    for span in ["berth-gateway", "berth-distribution unpack", "berth-runtime runc create"] {
        stage.soon(&format!("{span} is traced"), || {
            Ok(stage.composed("logs otel")?.contains(span))
        })?;
    }
    Ok(())
}

pub fn survives_the_ends_of_nodes(stage: &Stage) -> Result<()> {
    stage.composed("restart node-1")?;
    stage.serves(1)?;
    ensure!(stage.berth(1, "images -q")?.trim() == PULLED, "the image is gone");
    // It ended with the node, and its record is there.
    stage.berth(1, "start long")?;
    says_inside(stage)?;
    // The registry is where it was.
    stage.berth(1, &format!("pull -q {PULLED}"))?;
    stage.berth(1, "rm -f long")?;

    let first = stage.composed("ps -q node-3")?;
    let state = |value: &str| -> Result<String> {
        let inspect = stage.docker("inspect --format").args([value, first.trim()]);
        Ok(inspect.output()?.ok()?.trim().to_owned())
    };
    signal(state("{{.State.Pid}}")?.parse()?, Signal::KILL)?;
    stage.soon("node-3 is started again", || Ok(state("{{.RestartCount}}")? == "1"))?;
    stage.serves(3)?;
    for node in NODES {
        stage.berth(node, "fsck --digests")?;
    }
    told_of_all(stage, "up{job=%22berth%22}", "1")
}

pub fn goes_and_comes_back(stage: &Stage) -> Result<()> {
    stage.composed("down")?;
    stage.composed(&format!("up -d {STARTED}"))?;
    stage.serves(1)?;
    ensure!(stage.berth(1, "images -q")?.trim() == PULLED, "the image is gone");
    let said = stage.berth(1, &format!("run --rm {PULLED} echo again"))?;
    ensure!(said == "again\n", "{said}");
    stage.serves(3)?;
    stage.berth(3, &format!("pull -q {PULLED}"))?;
    let kept = of_etcd(stage, "POST", "/v3/kv/range", r#"{"key":"a2V5"}"#)?;
    ensure!(kept.contains("dmFsdWU="), "{kept}");
    // Prometheus has what it was told before, too.
    let before = "max_over_time(up{instance=%22node-1:1338%22}[1h])";
    stage.soon("Prometheus has its past", || Ok(asked(before)?.len() == 1))
}

pub fn leaves_nothing(stage: &Stage) -> Result<()> {
    stage.composed("down -v")?;
    for line in ["ps -a -q", "volume ls -q", "network ls -q --filter type=custom"] {
        let left = stage.docker(line).output()?.ok()?;
        ensure!(left.is_empty(), "{line}: {left}");
    }
    Ok(())
}
