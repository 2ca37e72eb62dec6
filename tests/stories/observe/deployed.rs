//! What is deployed for those who watch: Prometheus' rules, Grafana's dashboard.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Etcd, Image, Node, Output, Registry, program, until};
use serde_json::Value;

use super::prometheus::Prometheus;
use super::{get, told_at, whole};

const PATIENCE: Duration = Duration::from_secs(60);

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

/// The queries of rules, also those of several lines.
fn expressions(rules: &str) -> Vec<String> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let mut lines = rules.lines().peekable();
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        match line.trim_start().strip_prefix("expr:").map(str::trim) {
            None => {}
            Some("|") => {
                let mut whole = Vec::new();
                while let Some(more) = lines.next_if(|more| depth(more) > depth(line)) {
                    whole.push(more.trim());
                }
                all.push(whole.join(" "));
            }
            Some(expression) => all.push(expression.to_owned()),
        }
    }
    all
}

/// The names of our metrics in a query.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("berth_"))
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

/// The dashboard, and its text.
fn dashboard() -> Result<(Value, String)> {
    let text = fs_err::read_to_string(deployed("grafana/berth.json"))?;
    Ok((serde_json::from_str(&text)?, text))
}

/// The queries of the dashboard's panels, as Grafana sends them when this is chosen of its nodes.
fn queries(dashboard: &Value, instance: &str) -> Result<Vec<String>> {
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array()).flatten();
    let query = |target: &Value| {
        let query = target["expr"].as_str().context("a query")?;
        Ok(query.replace("$instance", instance).replace("$__rate_interval", "1m"))
    };
    targets.map(query).collect()
}

/// What may be chosen of a variable, which Grafana asks Prometheus for by `label_values(METRIC, LABEL)`.
fn choices(prometheus: &Prometheus, variable: &Value) -> Result<Vec<String>> {
    let query = variable["query"].as_str().context("a query")?;
    let inside = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')'));
    let (metric, label) = inside.and_then(|inside| inside.split_once(", ")).context("two names")?;
    prometheus.label_values(metric, label)
}

/// What is chosen as Grafana puts it into a regular expression, within a string of the query.
fn quoted(choice: &str) -> String {
    choice.replace('.', r"\\.")
}

#[test]
fn the_dashboard_has_the_variables_that_it_uses() -> Result<()> {
    let (dashboard, text) = dashboard()?;
    let list = dashboard["templating"]["list"].as_array().context("variables")?;
    let mut known: Vec<_> = list.iter().filter_map(|variable| variable["name"].as_str()).collect();
    let name = |rest: &'_ str| -> String {
        let rest = rest.trim_start_matches('{').chars();
        rest.take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let used: Vec<_> = text.split('$').skip(1).map(name).collect();
    for variable in &known {
        assert!(used.iter().any(|name| name == variable), "{variable} is used nowhere");
    }
    known.push("__rate_interval");
    for variable in used {
        assert!(known.contains(&&*variable), "there is no {variable}");
    }
    Ok(())
}

#[test]
fn every_query_of_the_dashboard_and_of_the_alerts_is_answered() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let etcd = Etcd::start()?;
    let node = Node::start_with(&format!(
        "[metrics]\naddress = \"127.0.0.1:0\"\n[cluster]\nnode = 'watched'\n[cluster.etcd]\nendpoints = {:?}\n",
        etcd.endpoints()
    ))?;
    let address = told_at(&node)?;
    node.berth(&format!("run -d --name watched-panels -m 64m {image} sleep 600")).output()?.ok()?;
    let prometheus = Prometheus::start(&address)?;
    let twice = || matches!(prometheus.value("count_over_time(berth_up{service=\"bundle\"}[1m])"), Ok(Some(n)) if n != "1");
    until("Prometheus has collected twice", PATIENCE, twice)?;
    let (dashboard, _) = dashboard()?;
    let variables = dashboard["templating"]["list"].as_array().context("variables")?;
    let asked: Vec<_> = variables.iter().filter(|variable| variable["type"] == "query").collect();
    let [instance] = *asked else { anyhow::bail!("{asked:?} are asked for, not the node alone") };
    assert_eq!((&instance["name"], &instance["includeAll"]), (&"instance".into(), &true.into()));
    let choices = choices(&prometheus, instance)?;
    assert_eq!(choices, [address.as_str()]);
    let all = instance["allValue"].as_str().context("what stands for all of them")?;
    for chosen in [all, &quoted(&choices[0])] {
        let queries = queries(&dashboard, chosen)?;
        assert!(queries.len() > 30, "{queries:?}");
        for query in queries {
            let shown = || matches!(prometheus.query(&query), Ok(series) if !series.is_empty());
            until(&format!("there is something that {query} shows"), PATIENCE, shown)?;
        }
    }
    let rules = fs_err::read_to_string(deployed("prometheus/rules.yml"))?;
    let (expressions, text) = (expressions(&rules), whole(&address, "/metrics")?);
    assert_eq!(expressions.len(), values(&rules, "alert:").len());
    for expression in expressions {
        for metric in metrics(&expression) {
            assert!(text.contains(&format!("\n{metric}{{")), "{metric} is not in {text}");
        }
        prometheus.query(&expression)?;
        // How fast the disk is says nothing of the node.
        if !expression.contains("berth_store_flush_seconds") {
            let well = || matches!(prometheus.query(&expression), Ok(told) if told.is_empty());
            until(&format!("{expression} is not told of a node that is well"), PATIENCE, well)?;
        }
    }
    let up = || matches!(prometheus.targets(), Ok(targets) if targets[0]["health"] == "up");
    until("the node is up", PATIENCE, up)?;
    get(&format!("http://{address}/healthz"))?;
    node.berth("rm -f watched-panels").output()?.ok()?;
    Ok(())
}
