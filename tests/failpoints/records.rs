//! Records that say what is not so, as no crash leaves them: `berth fsck --repair` mends them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use berth_store::{Error, Options, Store, Table, Write};
use berth_testkit::Node;
use serde_json::{Value, json};

/// The commits that mend them, and what `berth fsck` calls what they mend.
pub const MENDED: [(&str, &str); 2] =
    [("check.mend", "hold without lease"), ("count children", "snapshot's children")];

type Rows = Table<(String, String, String), Value>;

const SNAPSHOTS: Rows = Table::new("snapshots");
const HOLDS: Rows = Table::new("leases.holds");

/// Damages the stores of a node that does not run.
///
/// # Errors
/// When a service has its store still, or there is no snapshot with others on it.
pub fn damage(node: &Node) -> Result<()> {
    let hold = |txn: &Write| {
        let held = json!({ "kind": "content", "id": "nobody's" });
        txn.put(&HOLDS, &("default", "nobody's", "content nobody's"), &held)?;
        Ok(true)
    };
    change(&node.path("root/distribution/distribution.redb"), hold)?;
    let miscount = |txn: &Write| {
        for row in txn.range(&SNAPSHOTS, ("default", "overlayfs"))? {
            let ((space, snapshotter, key), mut record) = row?;
            if let Some(children @ 1..) = record["children"].as_u64() {
                record["children"] = json!(children + 7);
                txn.put(&SNAPSHOTS, &(&*space, &*snapshotter, &*key), &record)?;
                return Ok(true);
            }
        }
        Ok(false)
    };
    let is_done = change(&node.path("root/bundle/bundle.redb"), miscount)?;
    ensure!(is_done, "no snapshot has children");
    Ok(())
}

fn change(
    store: &Path,
    work: impl Fn(&Write) -> Result<bool, Error> + Send + 'static,
) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = Store::open(store, Options::default())?;
    let done = runtime.block_on(async {
        let done = store.commit("damage", work).await;
        store.close().await;
        done
    });
    Ok(done?)
}

/// The kinds of what a look has found.
///
/// # Errors
/// When not all services have answered.
pub fn kinds(node: &Node, flags: &str) -> Result<Vec<String>> {
    let output = node.berth(&format!("--json fsck {flags}")).output()?;
    let reports: Value =
        serde_json::from_str(&output.stdout).with_context(|| output.to_string())?;
    let reports = reports.as_array().context("a list of reports")?;
    let findings = reports.iter().filter_map(|report| report["findings"].as_array()).flatten();
    Ok(findings.filter_map(|found| found["kind"].as_str()).map(str::to_owned).collect())
}
