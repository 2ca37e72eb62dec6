//! Traces that a client begins, and what of them comes to a collector. What the services have to send
//! is there once the node has ended.

mod collector;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_testkit::{Authority, Image, Layer, Node, Proxy};
use containerd_client::services::v1::ListContainersRequest;
use containerd_client::to_any;
use containerd_client::types::transfer::{ImageStore, OciRegistry, UnpackConfiguration};
use serde_json::{Value, json};

use crate::stage::{Client, Stage};
use crate::streams::transfer;
use collector::{Collector, text};

const PULL: &str = "containerd.services.transfer.v1.Transfer/Transfer";
const CREATE: &str = "containerd.services.tasks.v1.Tasks/Create";
const START: &str = "containerd.services.tasks.v1.Tasks/Start";
const WAIT: &str = "containerd.services.tasks.v1.Tasks/Wait";
const DELETE: &str = "containerd.services.tasks.v1.Tasks/Delete";
const PULLED: &str = "0af7651916cd43dd8448eb211c80319c";
const RAN: &str = "1af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn part_of(client: &Client, trace: &str, flags: &str) -> Client {
    Client { traceparent: Some(format!("00-{trace}-{PARENT}-{flags}")), ..client.clone() }
}

/// Pulls an image of two layers that the node does not have.
async fn pull(client: &Client, stage: &Stage, proxy: &Proxy) -> Result<()> {
    let layer = |name: &str| Layer::default().file(name, 0o644, name.as_bytes());
    let image = Image::build(vec![layer("one")?, layer("two")?], json!({}))?;
    image.push(&stage.registry, "traced:1")?;
    let reference = proxy.reference("traced:1");
    let from = OciRegistry { reference: reference.clone(), resolver: None };
    let snapshotter = stage.snapshotter.clone();
    let unpacks = vec![UnpackConfiguration { platform: None, snapshotter }];
    let to = ImageStore { name: reference, unpacks, ..Default::default() };
    transfer(client, to_any(&from), to_any(&to)).await.context("pull")
}

async fn run(client: &Client, stage: &Stage, id: &str) -> Result<()> {
    // A lease holds the rootfs before and after there is a container.
    let client = client.clone().leased(id).await?;
    client.start(&stage.top, id, &["/bin/true"]).await?;
    client.wait(id, "").await?;
    client.remove(id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_trace_goes_through_the_services_to_registry_and_runc() -> Result<()> {
    let collector = Collector::start().await?;
    let config = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.endpoint);
    let mut stage = Stage::with(&config).await?;
    let client = stage.client().await?;
    let proxy = Proxy::start(&stage.registry.host())?;
    pull(&part_of(&client, PULLED, "01"), &stage, &proxy).await?;
    run(&part_of(&client, RAN, "01"), &stage, "traces-run").await?;
    stage.node.stop()?;

    let spans = collector.spans().of(PULLED);
    let (gateway, served) = (format!("gateway {PULL}"), format!("distribution {PULL}"));
    let call = [PARENT, &gateway, &served];
    let below = |more: &[&'static str]| [&call[..], more].concat();
    let get = format!("distribution GET {}", proxy.host());
    let many = |way: &[&str]| spans.at(way).len();
    let told = || spans.ways();
    assert_eq!(many(&call), 1, "{}", told());
    assert_eq!(many(&below(&["distribution resolve"])), 1, "{}", told());
    // The manifest, the configuration and two layers.
    assert_eq!(many(&below(&["distribution fetch"])), 4, "{}", told());
    assert_eq!(many(&[&below(&["distribution fetch"])[..], &[&get]].concat()), 4, "{}", told());
    let unpack = below(&["distribution unpack"]);
    assert_eq!(many(&unpack), 2, "{}", told());
    assert_eq!(many(&below(&["distribution commit"])), 2, "{}", told());
    let applied = "bundle berth.node.v1.Layers/Apply";
    assert_eq!(many(&[&unpack[..], &[applied]].concat()), 2, "{}", told());
    // The registry was told of the spans that asked it.
    let asked = proxy.of("GET", "/blobs/");
    ensure!(asked.len() >= 3, "{asked:?}");
    for seen in asked {
        let parent = seen.header("traceparent").context("no traceparent")?;
        assert!(
            parent.starts_with(&format!("00-{PULLED}-")) && parent.ends_with("-01"),
            "{parent}"
        );
    }

    let spans = collector.spans().of(RAN);
    let by_runc =
        [(CREATE, "Create", "create"), (START, "Start", "start"), (DELETE, "Delete", "delete")];
    for (method, call, verb) in by_runc {
        let (gateway, runtime) = (format!("gateway {method}"), format!("runtime {method}"));
        let (shim, runc) = (format!("runtime shim {call}"), format!("runtime runc {verb}"));
        let way = [PARENT, &*gateway, &*runtime, &*shim, &*runc];
        let [served] = spans.at(&way[..3])[..] else { panic!("{}", spans.ways()) };
        assert_eq!(text(&served.attributes, "id"), Some("traces-run"));
        assert_eq!(text(&served.attributes, "namespace"), Some("client"));
        let [shim] = spans.at(&way[..4])[..] else { panic!("{}", spans.ways()) };
        let [runc] = spans.at(&way)[..] else { panic!("{}", spans.ways()) };
        assert!(shim.start_time_unix_nano <= runc.start_time_unix_nano);
        assert!(runc.start_time_unix_nano < runc.end_time_unix_nano);
        assert!(runc.end_time_unix_nano <= shim.end_time_unix_nano);
    }
    let create = format!("runtime {CREATE}");
    let gateway = format!("gateway {CREATE}");
    for below in ["runtime mounts", "runtime shim start"] {
        assert_eq!(spans.at(&[PARENT, &gateway, &create, below]).len(), 1, "{}", spans.ways());
    }
    let [waited] = spans.at(&[PARENT, &format!("gateway {WAIT}"), &format!("runtime {WAIT}")])[..]
    else {
        panic!("{}", spans.ways())
    };
    assert_eq!(text(&waited.attributes, "id"), Some("traces-run"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_a_trace_decides_whether_it_is_kept() -> Result<()> {
    let collector = Collector::start().await?;
    let config =
        format!("[telemetry]\notlp_endpoint = \"{}\"\nsampling_ratio = 0.0\n", collector.endpoint);
    let mut stage = Stage::with(&config).await?;
    let client = stage.client().await?;
    run(&part_of(&client, PULLED, "00"), &stage, "traces-unsampled").await?;
    run(&client, &stage, "traces-none").await?;
    let odd = Client { traceparent: Some("00-0-0-01".into()), ..client.clone() };
    run(&odd, &stage, "traces-odd").await?;
    run(&part_of(&client, RAN, "01"), &stage, "traces-sampled").await?;
    stage.node.stop()?;
    let (all, kept) = (collector.spans(), collector.spans().of(RAN));
    assert!(kept.count() > 0);
    assert_eq!(all.count(), kept.count(), "{}", all.ways());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_turned_on_and_off_while_the_node_runs() -> Result<()> {
    const KEY: &str = "telemetry.otlp_endpoint";
    let (one, two) = (Collector::start().await?, Collector::start().await?);
    let on =
        |collector: &Collector| format!("[telemetry]\notlp_endpoint = {:?}\n", collector.endpoint);
    let mut stage = Stage::new().await?;
    let client = stage.client().await?;
    run(&part_of(&client, PULLED, "01"), &stage, "traces-before").await?;
    // berthd and its four services.
    stage.node.reload(&on(&one), KEY, 5)?;
    run(&part_of(&client, RAN, "01"), &stage, "traces-one").await?;
    stage.node.reload(&on(&two), KEY, 5)?;
    run(&part_of(&client, RAN, "01"), &stage, "traces-two").await?;
    stage.node.reload("", KEY, 5)?;
    run(&part_of(&client, PULLED, "01"), &stage, "traces-after").await?;
    // What was left then is sent beside.
    assert_eq!(stage.node.stop()?, Some(0));
    let create = [PARENT, &format!("gateway {CREATE}"), &format!("runtime {CREATE}")];
    for (collector, id) in [(&one, "traces-one"), (&two, "traces-two")] {
        let (all, spans) = (collector.spans(), collector.spans().of(RAN));
        let [created] = spans.at(&create)[..] else { panic!("{}", spans.ways()) };
        assert_eq!(text(&created.attributes, "id"), Some(id));
        assert_eq!(all.of(PULLED).count(), 0, "{}", all.ways());
    }
    let log = stage.node.log()?;
    assert!(!log.contains("the last spans were not sent"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_reach_the_services() -> Result<()> {
    let collector = Collector::start().await?;
    let started = |more: &[(&str, &str)]| {
        let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint)];
        Node::start_as("", &[&endpoint, more].concat(), |_| Ok(()))
    };
    for off in [("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_SDK_DISABLED", "true")] {
        let mut stage = Stage::on(started(&[off])?).await?;
        let client = part_of(&stage.client().await?, RAN, "01");
        run(&client, &stage, "traces-off").await?;
        stage.node.stop()?;
        assert_eq!(collector.spans().count(), 0, "{off:?}: {}", collector.spans().ways());
    }
    let whose = [
        ("OTEL_SERVICE_NAME", "node"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=here"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ];
    let mut stage = Stage::on(started(&whose)?).await?;
    let client = part_of(&stage.client().await?, RAN, "01");
    run(&client, &stage, "traces-on").await?;
    stage.node.stop()?;
    assert!(collector.spans().of(RAN).count() > 0);
    for (attribute, value) in [("service.name", "node"), ("deployment.environment", "here")] {
        let told = collector.told(attribute, "x-tenant");
        let expected = (Some(value.to_owned()), Some("blue".to_owned()));
        assert!(told.iter().all(|told| *told == expected), "{told:?}");
    }
    let log = stage.node.log()?;
    assert_eq!(log.matches("spans go by gRPC").count(), 1, "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_with_tls_is_known_by_its_certificate() -> Result<()> {
    let authority = Authority::new()?;
    let collector = Collector::certified(&authority).await?;
    let certificate = authority.path("ca.pem");
    let certificate = certificate.to_str().context("no text")?;
    // Without a scheme it is TLS.
    let address = collector.endpoint.trim_start_matches("https://");
    let mut stage = Stage::on(Node::start_as(
        "",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", address),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate),
        ],
        |_| Ok(()),
    )?)
    .await?;
    run(&part_of(&stage.client().await?, RAN, "01"), &stage, "traces-tls").await?;
    stage.node.stop()?;
    assert!(collector.spans().of(RAN).count() > 0, "{}", stage.node.log()?);

    // Nobody here knows the authority: the node runs, and says so.
    let other = Collector::certified(&Authority::new()?).await?;
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*other.endpoint),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate),
    ];
    let mut stage = Stage::on(Node::start_as("", &env, |_| Ok(()))?).await?;
    run(&part_of(&stage.client().await?, RAN, "01"), &stage, "traces-unknown").await?;
    assert_eq!(stage.node.stop()?, Some(0));
    assert_eq!(other.spans().count(), 0);
    let log = stage.node.log()?;
    assert!(log.contains("the collector takes no spans"), "{log}");
    Ok(())
}

/// No spans are kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_during_a_call_says_which_container_and_trace_it_is_of() -> Result<()> {
    // Those of the calls are there where only some targets are logged.
    let log = "[log]\nlevel = \"berth_gateway=debug,berth_runtime=info\"\nformat = \"json\"\n";
    let stage = Stage::with(log).await?;
    let client = part_of(&stage.client().await?, RAN, "00");
    let id = "traces-logged";
    // The shim is ended again, which is told.
    client.start(&stage.top, id, &["/none/such"]).await.expect_err("there is no such program");
    let log = stage.node.log()?;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_call = |line: &Value| -> Option<Value> {
        let spans = line["spans"].as_array()?.clone();
        spans.into_iter().find(|span| span["name"] == "call" && span["trace_id"] == RAN)
    };
    let of = |target: &str, message: &str| -> Vec<Value> {
        let those = lines.clone().filter(|line| {
            line["target"].as_str().is_some_and(|at| at.starts_with(target))
                && line["fields"]["message"] == message
        });
        those.filter_map(|line| of_call(&line)).collect()
    };
    let ended = of("berth_runtime", "shim did not make the task, ending it");
    let [ended] = &ended[..] else { panic!("{log}") };
    let all = json!({
        "name": "call", "namespace": "client", "id": id, "trace_id": RAN, "span_id": PARENT,
    });
    assert_eq!(*ended, all, "what is for collectors is for them alone");
    // Preparing a snapshot, the container, the task.
    let called = of("berth_gateway", "call");
    assert_eq!(called.len(), 3, "{log}");
    let known = json!({
        "name": "call", "namespace": "client", "trace_id": RAN, "span_id": PARENT,
    });
    assert!(called.iter().all(|span| *span == known), "{called:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_slows_no_call_and_no_end() -> Result<()> {
    // The kernel takes connections, and nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", silent.local_addr()?);
    let env = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        // Full at once.
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
    ];
    let mut stage = Stage::on(Node::start_as("", &env, |_| Ok(()))?).await?;
    let client = part_of(&stage.client().await?, RAN, "01");
    let began = Instant::now();
    run(&client, &stage, "traces-silent").await?;
    for _ in 0..100 {
        client.containers().list(client.request(ListContainersRequest::default())).await?;
    }
    // An export alone takes five seconds, and one call would wait for several if it waited.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    // Within a minute.
    assert_eq!(stage.node.stop()?, Some(0));
    let log = stage.node.log()?;
    let told = log.matches("the collector takes no spans").count();
    assert!((1..=5).contains(&told), "each process once at most: {log}");
    assert!(!log.contains("ended with"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_told_once_and_stops_nothing() -> Result<()> {
    // Port 0 is nobody's.
    let endpoint = "http://127.0.0.1:0";
    let env = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint),
        // Many batches, of which each fails.
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    let mut stage = Stage::on(Node::start_as("", &env, |_| Ok(()))?).await?;
    run(&stage.client().await?, &stage, "traces-away").await?;
    assert_eq!(stage.node.stop()?, Some(0));
    let log = stage.node.log()?;
    // Each of the four services.
    assert_eq!(log.matches("the collector takes no spans").count(), 4, "{log}");
    assert!(!log.contains("ended with"), "{log}");
    Ok(())
}
