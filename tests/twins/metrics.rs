//! What both tell Prometheus of the same container and the same calls.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use berth_testkit::{program, until};

use crate::twins::Twins;

/// What of containerd's is its own program's, or of what we do not have: see docs/operations.md.
const THEIRS: [&str; 6] = [
    "go_",
    "process_",
    "promhttp_",
    "grpc_server_msg_",
    "grpc_server_started",
    // Interfaces of its own for kubelets.
    "containerd_cri_",
];

/// What we tell also where containerd does not: until the first kill, and where it is not configured to.
const OURS: [&str; 4] = [
    "container_memory_oom_total ",
    "grpc_server_handling_seconds_",
    "berth_",
    // Of containerd 2 alone.
    "containerd_gc_",
];

/// Names with the names of their labels, of samples that are told of the container, of the calls and of
/// the build.
fn told(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let shape = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
        let labels: Vec<_> = labels.map_or("", |(labels, _)| labels).split("\",").collect();
        let labels = labels.iter().filter_map(|label| label.split('=').next());
        format!(
            "{name} {}",
            labels.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
        )
    };
    samples.map(shape).collect()
}

#[test]
fn metrics_of_the_same_names_and_labels() -> Result<()> {
    let twins = Twins::pulled()?;
    let run =
        format!("run -d --memory-limit 67108864 --cpus 0.5 {} @counted sleep 600", twins.image);
    twins.same(&run)?;
    twins.same("containers ls -q")?;
    twins.refused("containers info none")?;
    let get = |address: &str| {
        let url = format!("http://{address}/v1/metrics");
        program("curl").args(["-sS", "--max-time", "10", &url]).output()?.ok()
    };
    let (mut ours, mut stock) = (String::new(), String::new());
    until("both tell of the container", Duration::from_secs(60), || {
        (ours, stock) = (
            get(&twins.metrics).unwrap_or_default(),
            get(twins.stock.metrics()).unwrap_or_default(),
        );
        [&ours, &stock].iter().all(|text| text.contains("counted\""))
    })?;
    let theirs = |shape: &String| THEIRS.iter().any(|start| shape.starts_with(start));
    let (ours, mut stock) = (told(&ours), told(&stock));
    stock.retain(|shape| !theirs(shape));
    let missing: Vec<_> = stock.difference(&ours).collect();
    let is_ours = |shape: &&String| OURS.iter().any(|start| shape.starts_with(start));
    let more: Vec<_> = ours.difference(&stock).filter(|shape| !is_ours(shape)).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nmore: {more:#?}");
    twins.same("tasks kill -s SIGKILL @counted")?;
    Ok(())
}
