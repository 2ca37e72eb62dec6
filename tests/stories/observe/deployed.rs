//! What is deployed for those who watch: Prometheus' rules, Grafana's dashboard.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Image, Output, Registry, program, until};
use serde_json::Value;

use super::prometheus::Prometheus;
use super::{get, observed};

fn deployed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

fn promtool(folder: &Path, args: &[&str]) -> Result<Output> {
    program("promtool").args(args).within(folder).output()
}

/// The values of a key of a YAML file, one of a line, as they stand.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let of = |line: &'t str| line.trim_start_matches([' ', '-']).strip_prefix(key);
    text.lines().filter_map(of).map(str::trim).collect()
}

#[test]
fn each_alert_is_told_when_there_is_reason_for_it_and_is_explained() -> Result<()> {
    let folder = deployed("prometheus");
    promtool(&folder, &["check", "config", "prometheus.yml"])?.ok()?;
    promtool(&folder, &["check", "rules", "rules.yml"])?.ok()?;
    promtool(&folder, &["test", "rules", "rules.test.yml"])?.ok()?;
    let read = |name: &str| fs_err::read_to_string(folder.join(name));
    let (rules, tests) = (read("rules.yml")?, read("rules.test.yml")?);
    let alerts = values(&rules, "alert:");
    assert!(alerts.len() > 10, "{alerts:?}");
    let page = fs_err::read_to_string(deployed("../docs/operations.md"))?;
    for alert in &alerts {
        assert!(values(&tests, "alertname:").contains(alert), "{alert} has no test");
        assert!(page.contains(&format!("| `{alert}` |")), "{alert} is not explained");
    }
    // The tests can fail.
    let copy = tempfile::tempdir()?;
    fs_err::write(copy.path().join("rules.yml"), rules.replace("== 0", "== 7"))?;
    fs_err::write(copy.path().join("rules.test.yml"), &tests)?;
    promtool(copy.path(), &["test", "rules", "rules.test.yml"])?.fails(1)?;
    Ok(())
}

/// The queries of the dashboard, as Grafana sends them.
fn queries() -> Result<Vec<String>> {
    let dashboard: Value =
        serde_json::from_str(&fs_err::read_to_string(deployed("grafana/berth.json"))?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array()).flatten();
    let query = |target: &Value| {
        let query = target["expr"].as_str().context("a query")?;
        Ok(query.replace("$instance", ".*").replace("$__rate_interval", "1m"))
    };
    targets.map(query).collect()
}

#[test]
fn every_query_of_the_dashboard_and_of_the_alerts_is_answered() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let (node, address) = observed()?;
    node.berth(&format!("run -d --name watched-panels -m 64m {image} sleep 600")).output()?.ok()?;
    let prometheus = Prometheus::start(&address)?;
    let twice = || matches!(prometheus.value("count_over_time(berth_up{service=\"bundle\"}[1m])"), Ok(Some(n)) if n != "1");
    until("Prometheus has collected twice", Duration::from_secs(60), twice)?;
    let queries = queries()?;
    assert!(queries.len() > 30, "{queries:?}");
    for query in queries {
        let series = prometheus.query(&query)?;
        assert!(!series.is_empty(), "there is nothing that {query} shows");
    }
    let rules = fs_err::read_to_string(deployed("prometheus/rules.yml"))?;
    let expressions = values(&rules, "expr:").into_iter().filter(|expr| *expr != "|");
    for expression in expressions {
        let told = prometheus.query(expression)?;
        assert!(told.is_empty(), "{expression} is told of a node that is well: {told:?}");
    }
    let targets = prometheus.targets()?;
    assert_eq!(targets[0]["health"], "up", "{targets}");
    get(&format!("http://{address}/healthz"))?;
    node.berth("rm -f watched-panels").output()?.ok()?;
    Ok(())
}
