//! Errors in the log: what is answered is told by the answer, what nobody asked for is told once, where it
//! is handled.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::until;
use containerd_client::services::v1::snapshots::PrepareSnapshotRequest;
use containerd_client::services::v1::{Container, UpdateContainerRequest};
use containerd_client::to_any;
use containerd_client::types::transfer::{ImageStore, OciRegistry};
use prost_types::FieldMask;
use serde_json::Value;

use crate::stage::{Client, NAMESPACE, Stage};
use crate::streams::transfer;

const SOON: Duration = Duration::from_secs(60);

/// The traces that the three calls are part of.
const PULLED: &str = "2af7651916cd43dd8448eb211c80319c";
const PREPARED: &str = "3af7651916cd43dd8448eb211c80319c";
const STARTED: &str = "4af7651916cd43dd8448eb211c80319c";

/// What each of the errors names, and nothing else does.
const HOST: &str = "told-no-host.invalid";
const PARENT: &str = "told-no-snapshot";
const PROGRAM: &str = "/told/no/program";
const KEPT: &str = "told-kept";

fn part_of(client: &Client, trace: &str) -> Client {
    let traceparent = Some(format!("00-{trace}-b7ad6b7169203331-00"));
    Client { traceparent, ..client.clone() }
}

/// Has a client fail in three ways; each time the answer names what is not there.
async fn fail(client: &Client, top: &str) -> Result<()> {
    let reference = format!("{HOST}/image:1");
    let from = OciRegistry { reference: reference.clone(), resolver: None };
    let to = ImageStore { name: reference, ..Default::default() };
    let pulled = transfer(&part_of(client, PULLED), to_any(&from), to_any(&to)).await;
    let told = pulled.err().context("a host that is not there")?;
    ensure!(told.message().contains(HOST), "{told}");

    let preparing = part_of(client, PREPARED);
    let prepare = PrepareSnapshotRequest {
        snapshotter: client.snapshotter.clone(),
        key: "told-prepared".into(),
        parent: PARENT.into(),
        ..Default::default()
    };
    let prepared = preparing.snapshots().prepare(preparing.request(prepare)).await;
    let told = prepared.err().context("a parent that is not there")?;
    ensure!(told.message().contains(PARENT), "{told}");

    let started = part_of(client, STARTED).start(top, "told-started", &[PROGRAM]).await;
    let told = format!("{:#}", started.err().context("a program that is not there")?);
    ensure!(told.contains(PROGRAM), "{told}");
    Ok(())
}

/// Makes a container that runtime is to keep running, and cannot: its root file system is not there.
async fn keep(client: &Client) -> Result<()> {
    client.create(KEPT, &["/bin/true"]).await?;
    let labels = [("containerd.io/restart.status".to_owned(), "running".to_owned())].into();
    let container = Some(Container { id: KEPT.into(), labels, ..Default::default() });
    let update_mask = Some(FieldMask { paths: vec!["labels".into()] });
    let update = UpdateContainerRequest { container, update_mask };
    client.containers().update(client.request(update)).await?;
    Ok(())
}

/// The lines that name something: all of them, and those that call somebody to it.
fn of<'a>(lines: &'a [Value], words: &str) -> (Vec<&'a Value>, Vec<&'a Value>) {
    let named: Vec<_> = lines.iter().filter(|line| line.to_string().contains(words)).collect();
    let calls = |line: &&&Value| matches!(line["level"].as_str(), Some("WARN" | "ERROR"));
    let calling = named.iter().filter(calls).copied().collect();
    (named, calling)
}

/// A field that one of the spans of a line has.
fn has(line: &Value, field: &str, value: &str) -> bool {
    let spans = line["spans"].as_array();
    spans.is_some_and(|spans| spans.iter().any(|span| span[field] == value))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error_is_told_once_where_it_is_handled() -> Result<()> {
    let config = "[log]\nformat = \"json\"\n[runtime]\nrestart_interval = \"1h\"\n";
    let mut stage = Stage::with(config).await?;
    let client = stage.client().await?.leased("told").await?;
    fail(&client, &stage.top).await?;
    keep(&client).await?;
    // It looks when it starts, and then not within this test.
    stage.node.kill_service("berth-runtime")?;
    let log = || stage.node.log().unwrap_or_default();
    until("runtime says what it cannot keep", SOON, || log().contains(KEPT))?;
    stage.node.stop()?;
    let parsed = |line: &str| serde_json::from_str(line).with_context(|| line.to_owned());
    let lines = stage.node.log()?.lines().map(parsed).collect::<Result<Vec<Value>>>()?;

    // The client was told: nobody else has to do anything. One of several hosts may fail unseen.
    let (told, calls) = of(&lines, HOST);
    ensure!(told.len() == 1 && calls.is_empty(), "{told:#?}");
    ensure!(has(told[0], "trace_id", PULLED) && has(told[0], "namespace", NAMESPACE), "{told:#?}");
    for words in [PARENT, PROGRAM] {
        let (told, _) = of(&lines, words);
        ensure!(told.is_empty(), "answered, and logged as well: {told:#?}");
    }
    // Nobody asked for it.
    let (told, calls) = of(&lines, KEPT);
    ensure!(told.len() == 1 && calls.len() == 1, "{told:#?}");
    let fields = &told[0]["fields"];
    ensure!(fields["id"] == KEPT && fields["namespace"] == NAMESPACE, "{told:#?}");
    Ok(())
}
