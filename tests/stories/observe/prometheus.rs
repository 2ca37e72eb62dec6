//! Debian's Prometheus, collecting from a node.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Run, Session, program, until};
use serde_json::Value;
use tempfile::TempDir;

use super::get;

/// One that collects every three seconds, for which it waits each time, until it is dropped.
pub struct Prometheus {
    at: String,
    _session: Session,
    _folder: TempDir,
}

impl Prometheus {
    /// Collects from a node's address.
    pub fn start(address: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = format!(
            "global: {{scrape_interval: 3s, scrape_timeout: 3s}}\nscrape_configs:\n- job_name: berth\n  static_configs: [{{targets: ['{address}']}}]\n"
        );
        let file = folder.path().join("prometheus.yml");
        fs_err::write(&file, config)?;
        let prometheus = program("prometheus")
            .args([format!("--config.file={}", file.display())])
            .args([format!("--storage.tsdb.path={}", folder.path().join("data").display())])
            .args(["--web.listen-address=127.0.0.1:0"]);
        let session = Session::start(prometheus)?;
        session.expect("Server is ready")?;
        // It says so by another hand, maybe later.
        let mut at = None;
        until("Prometheus says where it listens", Duration::from_secs(60), || {
            let printed = session.printed();
            let mut whole = printed.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let line = whole.find(|line| line.contains("Listening on"));
            let address = line.and_then(|line| line.split_once("address="));
            at = address.and_then(|(_, at)| at.split_whitespace().next()).map(str::to_owned);
            at.is_some()
        })
        .with_context(|| session.printed())?;
        let at = at.context("where Prometheus listens")?;
        Ok(Self { at, _session: session, _folder: folder })
    }

    /// What it answers to a query now: series with their values. An error of the query is one.
    pub fn query(&self, query: &str) -> Result<Vec<Value>> {
        let asked = curl().args(["--data-urlencode", &format!("query={query}")]);
        let asked = asked.args([format!("http://{}/api/v1/query", self.at)]).output()?.ok()?;
        let answer: Value = serde_json::from_str(&asked)?;
        anyhow::ensure!(answer["status"] == "success", "{query}: {answer}");
        Ok(answer["data"]["result"].as_array().context("a result")?.clone())
    }

    /// The values that a label has with this metric.
    pub fn label_values(&self, metric: &str, label: &str) -> Result<Vec<String>> {
        let asked = curl().args(["--data-urlencode", &format!("match[]={metric}")]);
        let at = format!("http://{}/api/v1/label/{label}/values", self.at);
        let answer: Value = serde_json::from_str(&asked.args([at]).output()?.ok()?)?;
        anyhow::ensure!(answer["status"] == "success", "{label} of {metric}: {answer}");
        let values = answer["data"].as_array().context("values")?.iter();
        Ok(values.filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The value of a query with one series.
    pub fn value(&self, query: &str) -> Result<Option<String>> {
        Ok(self.query(query)?.first().and_then(|s| s["value"][1].as_str().map(str::to_owned)))
    }

    /// Whether it could collect from the node, and what it says of that.
    pub fn targets(&self) -> Result<Value> {
        let answer = get(&format!("http://{}/api/v1/targets", self.at))?;
        Ok(serde_json::from_str::<Value>(&answer)?["data"]["activeTargets"].clone())
    }
}

fn curl() -> Run {
    program("curl").args(["-sS", "--max-time", "10", "-G"]).patience(Duration::from_secs(20))
}
