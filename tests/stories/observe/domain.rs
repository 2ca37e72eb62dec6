//! What a node counts of what it is for: images, containers, disk, events.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_proto::containerd::services::sandbox::v1::StoreCreateRequest;
use berth_proto::containerd::services::sandbox::v1::store_client::StoreClient;
use berth_proto::containerd::types::Sandbox;
use berth_proto::containerd::types::sandbox::Runtime;
use berth_testkit::{Image, Layer, Node, Registry, Session, Signal, program, until};

use super::{get, observed, whole};

const PATIENCE: Duration = Duration::from_secs(60);

/// The value of a sample by its whole name and labels.
fn value(text: &str, sample: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let line = line.with_context(|| format!("{sample} is not in {text}"))?;
    Ok(line.parse()?)
}

fn is_counted(text: &str, samples: &[(&str, f64)]) -> Result<()> {
    for (sample, expected) in samples {
        let found = value(text, sample)?;
        anyhow::ensure!((found - expected).abs() < f64::EPSILON, "{sample} is {found}");
    }
    Ok(())
}

/// The names that are told, without those of parts of histograms.
fn names(text: &str) -> BTreeSet<&str> {
    let help = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    help.filter_map(|line| line.split(' ').next()).collect()
}

/// What a page names in the first column of its tables of metrics.
fn documented(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `berth_"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    // Without what the row begins with, which is put back below.
    cells
        .flat_map(|cell| cell.split(", `berth_"))
        .filter_map(|name| name.strip_suffix('`'))
        .collect()
}

/// Makes the record of a sandbox, which no command line does.
fn record_sandbox(node: &Node) -> Result<()> {
    let sandbox = Sandbox {
        sandbox_id: "watched-pod".into(),
        runtime: Some(Runtime { name: "io.containerd.runc.v2".into(), options: None }),
        sandboxer: "shim".into(),
        ..Default::default()
    };
    let request = StoreCreateRequest { sandbox: Some(sandbox) };
    let request = berth_grpc::with_namespace(request, &"default".parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = berth_grpc::channel(&node.address());
        StoreClient::new(channel).create(request).await.map(drop)
    })?;
    Ok(())
}

/// What every process of the node tells, with no label of its own.
const OF_EACH: [&str; 7] = [
    "grpc_calls_under_way",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_threads",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
];

/// What every service tells that has a store and events.
const OF_STORES: [&str; 6] = [
    "store_commits_waiting",
    "events_published_total",
    "events_lost_total",
    "events_subscribers",
    "events_lag",
    "scrape_samples_left_out",
];

/// Each has a sample, of each that tells it: a name without one is as good as none.
fn all_is_there(text: &str) -> Result<()> {
    for service in ["gateway", "distribution", "bundle", "runtime"] {
        for name in OF_EACH {
            value(text, &format!("berth_{name}{{service=\"{service}\"}}"))?;
        }
        let build = format!("service=\"{service}\",version=\"{}\"", env!("CARGO_PKG_VERSION"));
        is_counted(text, &[(&format!("berth_build_info{{{build}}}"), 1.0)])?;
        let began = format!("berth_process_start_time_seconds{{service=\"{service}\"}}");
        anyhow::ensure!(value(text, &began)? > 1.7e9, "{began} in {text}");
    }
    for service in ["distribution", "bundle", "runtime"] {
        for name in OF_STORES {
            value(text, &format!("berth_{name}{{service=\"{service}\"}}"))?;
        }
        let of = |name: &str| format!("berth_{name}{{service=\"{service}\"}}");
        let known = [("up", 1.0), ("events_lost_total", 0.0), ("events_subscribers", 1.0)];
        for (name, expected) in known {
            is_counted(text, &[(&of(name), expected)])?;
        }
    }
    Ok(())
}

/// A node that has pulled, pushed, run and collected, and has a sandbox.
fn used(registry: &Registry) -> Result<(Node, String)> {
    let image = Image::busybox()?.push(registry, "busybox:1")?;
    let (node, address) = observed()?;
    node.berth(&format!("pull -q {image}")).output()?.ok()?;
    node.berth(&format!("pull -q {}", registry.reference("none:1"))).output()?.fails(1)?;
    let other = registry.reference("other:1");
    node.berth(&format!("tag {image} {other}")).output()?.ok()?;
    node.berth(&format!("push -q {other}")).output()?.ok()?;
    node.berth(&format!("run -d --name watched-one -m 64m --pids-limit 20 {image} sleep 600"))
        .output()?
        .ok()?;
    node.berth(&format!("run -d --name watched-two {image} sleep 600")).output()?.ok()?;
    node.berth("pause watched-two").output()?.ok()?;
    node.ctr("leases create --id watched").output()?.ok()?;
    record_sandbox(&node)?;
    let layers = vec![Layer::noise("gone", 100_000, 7)?];
    let gone = Image::build(layers, serde_json::json!({}))?.push(registry, "gone:1")?;
    node.berth(&format!("pull -q {gone}")).output()?.ok()?;
    node.berth(&format!("rmi {gone}")).output()?.ok()?;
    node.berth("gc").output()?.ok()?;
    Ok((node, address))
}

#[test]
fn what_a_node_does_and_has_is_counted() -> Result<()> {
    let registry = Registry::start()?;
    let (node, address) = used(&registry)?;
    let _events = Session::start(node.ctr("events"))?;
    let mut text = String::new();
    until("who reads the events is counted", PATIENCE, || {
        text = whole(&address, "/metrics").unwrap_or_default();
        let reads = |service: &&str| {
            text.contains(&format!("\nberth_events_subscribers{{service=\"{service}\"}} 1\n"))
        };
        ["distribution", "bundle", "runtime"].iter().all(reads)
    })
    .with_context(|| text.clone())?;
    let checked = program("promtool").args(["check", "metrics"]).output_with(text.as_bytes())?;
    assert_eq!((checked.code, checked.stdout.as_str()), (0, ""), "{checked}");
    let own = "service=\"runtime\",namespace=\"default\"";
    is_counted(
        &text,
        &[
            (
                "berth_transfer_seconds_count{service=\"distribution\",kind=\"pull\",outcome=\"ok\"}",
                2.0,
            ),
            (
                "berth_transfer_seconds_count{service=\"distribution\",kind=\"pull\",outcome=\"failed\"}",
                1.0,
            ),
            (
                "berth_transfer_seconds_count{service=\"distribution\",kind=\"push\",outcome=\"ok\"}",
                1.0,
            ),
            (
                "berth_transfer_stage_seconds_count{service=\"distribution\",stage=\"resolve\",outcome=\"failed\"}",
                1.0,
            ),
            (
                "berth_transfer_stage_seconds_count{service=\"distribution\",stage=\"unpack\",outcome=\"ok\"}",
                2.0,
            ),
            ("berth_transfers_under_way{service=\"distribution\",kind=\"pull\"}", 0.0),
            ("berth_images{service=\"distribution\",namespace=\"default\"}", 2.0),
            ("berth_blobs{service=\"distribution\"}", 3.0),
            ("berth_ingests{service=\"distribution\",state=\"open\"}", 0.0),
            ("berth_layer_seconds_count{service=\"bundle\",outcome=\"ok\"}", 2.0),
            ("berth_layers_under_way{service=\"bundle\"}", 0.0),
            (
                "berth_snapshots{service=\"bundle\",namespace=\"default\",snapshotter=\"overlayfs\",kind=\"committed\"}",
                1.0,
            ),
            (
                "berth_snapshots{service=\"bundle\",namespace=\"default\",snapshotter=\"overlayfs\",kind=\"active\"}",
                2.0,
            ),
            ("berth_shim_start_seconds_count{service=\"runtime\",outcome=\"ok\"}", 2.0),
            (&format!("berth_containers{{{own}}}"), 2.0),
            (&format!("berth_sandboxes{{{own}}}"), 1.0),
            (&format!("berth_tasks{{{own},state=\"running\"}}"), 1.0),
            (&format!("berth_tasks{{{own},state=\"paused\"}}"), 1.0),
            (&format!("berth_container_pids{{{own},container=\"watched-one\"}}"), 1.0),
            (&format!("berth_container_pids_limit{{{own},container=\"watched-one\"}}"), 20.0),
            (
                &format!("berth_container_memory_limit_bytes{{{own},container=\"watched-one\"}}"),
                67_108_864.0,
            ),
            ("berth_container_usage_missing{service=\"runtime\"}", 0.0),
            ("berth_scrape_up{service=\"runtime\",source=\"tasks\"}", 1.0),
            ("berth_scrape_up{service=\"bundle\",source=\"snapshots\"}", 1.0),
        ],
    )?;
    let host = registry.host();
    for sample in [
        format!("berth_registry_received_bytes_total{{service=\"distribution\",host=\"{host}\"}}"),
        format!("berth_registry_sent_bytes_total{{service=\"distribution\",host=\"{host}\"}}"),
        "berth_blobs_bytes{service=\"distribution\"}".into(),
        "berth_snapshots_bytes{service=\"bundle\",namespace=\"default\",snapshotter=\"overlayfs\"}"
            .into(),
        "berth_layers_unpacked_bytes_total{service=\"bundle\"}".into(),
        "berth_gc_seconds_count{service=\"distribution\",outcome=\"ok\"}".into(),
        "berth_gc_removed_total{service=\"distribution\",kind=\"content\"}".into(),
        "berth_gc_removed_total{service=\"distribution\",kind=\"snapshots/overlayfs\"}".into(),
        "berth_gc_freed_bytes_total{service=\"distribution\"}".into(),
        "berth_layer_turns_free{service=\"bundle\"}".into(),
        "berth_store_commits_total{service=\"runtime\",outcome=\"kept\"}".into(),
        "berth_store_flush_seconds_count{service=\"bundle\"}".into(),
        "berth_events_published_total{service=\"runtime\"}".into(),
        format!("berth_container_cpu_seconds_total{{{own},container=\"watched-one\"}}"),
        format!("berth_container_memory_bytes{{{own},container=\"watched-two\"}}"),
    ] {
        assert!(value(&text, &sample)? > 0.0, "{sample} in {text}");
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let page = fs_err::read_to_string(page)?;
    for name in names(&text) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/operations.md");
    }
    let (documented, told) = (documented(&page), names(&text));
    assert!(documented.len() > 50, "the tables are looked for wrongly: {documented:?}");
    // What is told of pods, where they are served, the stories of the CRI look at.
    for name in documented.into_iter().filter(|name| !name.starts_with("cri_")) {
        let is_told = told.contains(&*format!("berth_{name}"));
        assert!(is_told, "berth_{name} is in docs/operations.md, and is not told");
    }
    all_is_there(&text)?;
    node.berth("rm -f watched-one watched-two").output()?.ok()?;
    Ok(())
}

const PLUGINS: &str = "grpc_server_handled_total{grpc_code=\"OK\",grpc_service=\"containerd.services.introspection.v1.Introspection\",grpc_method=\"Plugins\",grpc_type=\"unary\"}";

#[test]
fn containerds_names_are_told_too() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let (node, address) = observed()?;
    node.berth(&format!("run -d --name watched-theirs -m 64m {image} sleep 600")).output()?.ok()?;
    let container = "container_pids_current{container_id=\"watched-theirs\",namespace=\"default\",runtime=\"io.containerd.runc.v2\"} 1";
    until("the container is told", PATIENCE, || {
        get(&format!("http://{address}/v1/metrics")).is_ok_and(|text| text.contains(container))
    })?;
    let asked = || value(&whole(&address, "/v1/metrics")?, PLUGINS);
    let before = asked().unwrap_or_default();
    node.ctr("plugins ls").output()?.ok()?;
    // The gateway asks each service for its own, which is no call of a client.
    let plugins = asked()? - before;
    assert!((plugins - 1.0).abs() < f64::EPSILON, "{plugins}");
    let text = whole(&address, "/v1/metrics")?;
    let call = "grpc_server_handled_total{grpc_code=\"OK\",grpc_service=\"containerd.services";
    for (sample, expected) in [
        (format!("{call}.tasks.v1.Tasks\",grpc_method=\"Create\",grpc_type=\"unary\"}}"), 1.0),
        (
            format!("{call}.transfer.v1.Transfer\",grpc_method=\"Transfer\",grpc_type=\"unary\"}}"),
            1.0,
        ),
        ("berth_up{service=\"runtime\"}".into(), 1.0),
        ("berth_scrape_up{service=\"runtime\",source=\"tasks\"}".into(), 1.0),
        ("berth_scrape_samples_left_out{service=\"runtime\"}".into(), 0.0),
    ] {
        is_counted(&text, &[(&sample, expected)])?;
    }
    let version =
        format!("{call}.version.v1.Version\",grpc_method=\"Version\",grpc_type=\"unary\"}}");
    assert!(value(&text, &version)? >= 1.0);
    assert!(text.contains("\ncontainerd_build_info_total{revision=\"berth-"), "{text}");
    // The hierarchy decides over the name, as with containerd.
    let of = "{container_id=\"watched-theirs\",namespace=\"default\",runtime=\"io.containerd.runc.v2\"} 67108864";
    let limits = ["container_memory_usage_limit_bytes"].map(|name| format!("\n{name}{of}\n"));
    assert!(limits.iter().any(|limit| text.contains(limit)), "{text}");
    assert!(!text.contains("berth.node"), "{text}");
    let ours = names(&text).into_iter().filter(|name| name.starts_with("berth_"));
    let ours: Vec<_> = ours.collect();
    let expected =
        ["berth_scrape_samples_left_out", "berth_scrape_seconds", "berth_scrape_up", "berth_up"];
    assert_eq!(ours, expected);
    node.berth("rm -f watched-theirs").output()?.ok()?;
    Ok(())
}

#[test]
fn shims_that_hang_hold_up_nobody_and_are_told() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let (node, address) = observed()?;
    for name in ["watched-hung", "watched-well"] {
        node.berth(&format!("run -d --name {name} {image} sleep 600")).output()?.ok()?;
    }
    let told = || get(&format!("http://{address}/metrics"));
    let shims = node.shims();
    let of = |shim: &&u32| {
        let line = fs_err::read_to_string(format!("/proc/{shim}/cmdline")).unwrap_or_default();
        line.contains("watched-hung")
    };
    let hung = *shims.iter().find(of).context("the shim")?;
    berth_testkit::signal(hung, Signal::STOP)?;
    let own = "service=\"runtime\",namespace=\"default\"";
    let (unknown, running) = (
        format!("berth_tasks{{{own},state=\"unknown\"}}"),
        format!("berth_tasks{{{own},state=\"running\"}}"),
    );
    let pids = format!("berth_container_pids{{{own},container=\"watched-well\"}}");
    let one_is_unknown = [
        ("berth_up{service=\"runtime\"}", 1.0),
        ("berth_scrape_up{service=\"runtime\",source=\"tasks\"}", 1.0),
        ("berth_container_usage_missing{service=\"runtime\"}", 1.0),
        (&*unknown, 1.0),
        (&*running, 1.0),
        (&*pids, 1.0),
    ];
    let mut text = String::new();
    // The other may be late, too, on a busy machine.
    let seen = until("one task is unknown, the other is told", PATIENCE, || {
        text = told().unwrap_or_default();
        is_counted(&text, &one_is_unknown).is_ok()
    });
    berth_testkit::signal(hung, Signal::CONT)?;
    seen.context(text.clone())?;
    assert!(!text.contains("container=\"watched-hung\""), "{text}");
    is_counted(&whole(&address, "/metrics")?, &[(&running, 2.0)])?;
    node.berth("rm -f watched-hung watched-well").output()?.ok()?;
    Ok(())
}
