//! What becomes of keys in etcd, as etcdctl tells it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Run, program};
use serde_json::Value;

use crate::cluster::NAME;

/// etcdctl at these endpoints.
pub fn etcdctl(endpoints: &[String]) -> Run {
    let ctl = program("etcdctl").env("ETCDCTL_API", "3");
    ctl.args(["--endpoints", &endpoints.join(","), "--command-timeout=60s", "--dial-timeout=10s"])
}

/// What the cluster's keys begin with.
pub fn prefix() -> String {
    format!("/berth/{NAME}/v1/")
}

/// Writes a value, whatever bytes it has.
pub fn put(endpoints: &[String], key: &str, value: &[u8]) -> Result<()> {
    let put = etcdctl(endpoints).args(["put", key]);
    // It does not take an empty input for a value.
    let put = if value.is_empty() { put.args([""]) } else { put };
    put.output_with(value)?.ok().map(drop)
}

/// How far etcd is.
pub fn revision(endpoints: &[String]) -> Result<i64> {
    let told = etcdctl(endpoints).args(["get", "none", "-w", "json"]).output()?.ok()?;
    let told: Value = serde_json::from_str(&told)?;
    told["header"]["revision"].as_i64().with_context(|| format!("{told}"))
}

/// The keys that are there, each with the revision at which it was made.
pub fn all(endpoints: &[String]) -> Result<BTreeMap<String, i64>> {
    let get = etcdctl(endpoints).args(["get", "--prefix", "--keys-only", "-w", "fields"]);
    let printed = get.args([prefix()]).output()?.ok()?;
    let mut keys = BTreeMap::new();
    let mut key = None;
    for line in printed.lines() {
        if let Some(text) = line.strip_prefix("\"Key\" : ") {
            key = Some(text.trim_matches('"').to_owned());
        } else if let Some(made) = line.strip_prefix("\"CreateRevision\" : ") {
            keys.insert(key.take().context("a revision of no key")?, made.parse()?);
        }
    }
    Ok(keys)
}

/// Keys that are there to stay.
pub struct Staying(BTreeMap<String, i64>);

impl Staying {
    /// Those that are there now.
    pub fn now(endpoints: &[String]) -> Result<Self> {
        let keys = all(endpoints)?;
        ensure!(!keys.is_empty(), "nothing is published");
        Ok(Self(keys))
    }

    /// None of them was deleted at any time since: what is made again has another revision.
    pub fn none_left(&self, endpoints: &[String]) -> Result<()> {
        let now = all(endpoints)?;
        let left: Vec<_> =
            self.0.iter().filter(|(key, made)| now.get(*key) != Some(made)).collect();
        ensure!(left.is_empty(), "keys were deleted meanwhile: {left:?}");
        Ok(())
    }
}
