//! Debian's Prometheus, collecting from a node.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Run, Session, program};
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
        let printed = session.printed();
        let listens =
            printed.lines().find(|line| line.contains("Listening on")).context(printed.clone())?;
        let (_, at) = listens.split_once("address=").context("where Prometheus listens")?;
        let at = at.split_whitespace().next().unwrap_or_default().to_owned();
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
