//! Containers by the API: create and start, and a whole life.

use std::time::{Duration, Instant};

use anyhow::Result;
use berth_proto::containerd::services::tasks::v1 as tasks;

use crate::client::Client;
use crate::daemon::{Node, Pair};
use crate::turns::{median, take, take_beside};
use crate::{images, runc};

/// What a container's life takes: until it has started, and all of it.
#[derive(Clone, Copy, Debug)]
struct Life {
    begin: Duration,
    whole: Duration,
}

/// Measures both, beside what runc takes for itself.
pub async fn measure(pair: &Pair, rounds: usize) -> Result<()> {
    let registry = berth_testkit::Registry::start()?;
    let image = images::tiny()?.push(&registry, "tiny:1")?;
    for node in pair.nodes() {
        images::pull(node, &image)?;
    }
    let parents =
        [pair.containerd.client.top_snapshot().await?, pair.berth.client.top_snapshot().await?];
    let spec = runc::spec(&["true"])?;
    let live = async |node: &Node, number: usize| {
        life(&node.client, &format!("life-{number}"), &spec, &parents[number % 2]).await
    };
    let alone = runc::Alone::new()?;
    let begun = async |node: &Node, number| Ok(live(node, number).await?.begin);
    let begun = take_beside(pair, rounds, || alone.turn(), begun).await?;
    let whole = async |node: &Node, number| Ok(live(node, 4 * rounds + number).await?.whole);
    let whole = take_beside(pair, rounds, || alone.turn(), whole).await?;
    let own = alone.finish();
    let begin = median(&own.begin);
    begun.report("task: create and start");
    begun.report_beyond("… beyond runc's own create and start", begin);
    whole.report("a container's whole life");
    whole.report_beyond("… beyond runc's own create, start, delete", begin + median(&own.delete));
    let run = async |node: &Node, number: usize| {
        let line = format!(
            "-n measure run --rm --null-io {image} run-{number}-{} true",
            std::process::id()
        );
        let began = Instant::now();
        node.ctr(&line).output()?.ok()?;
        Ok(began.elapsed())
    };
    take(pair, rounds, run).await?.report("ctr run --rm IMAGE true");
    Ok(())
}

async fn life(client: &Client, id: &str, spec: &[u8], parent: &str) -> Result<Life> {
    let began = Instant::now();
    // The record first: a snapshot that nothing names may be collected.
    client.create_container(id, spec, id).await?;
    let rootfs = client.prepare(id, parent).await?;
    let beginning = Instant::now();
    let create = tasks::CreateTaskRequest { container_id: id.into(), rootfs, ..Default::default() };
    client.tasks().create(client.request(create)).await?;
    start(client, id, "").await?;
    let begin = beginning.elapsed();
    let wait = tasks::WaitRequest { container_id: id.into(), exec_id: String::new() };
    client.tasks().wait(client.request(wait)).await?;
    let delete = tasks::DeleteTaskRequest { container_id: id.into() };
    client.tasks().delete(client.request(delete)).await?;
    client.delete_container(id).await?;
    client.remove_snapshot(id).await?;
    Ok(Life { begin, whole: began.elapsed() })
}

/// Starts a process that has been created.
pub async fn start(client: &Client, id: &str, exec: &str) -> Result<()> {
    let request = tasks::StartRequest { container_id: id.into(), exec_id: exec.into() };
    client.tasks().start(client.request(request)).await?;
    Ok(())
}

/// Starts a container that sleeps; it ends with its node.
pub async fn sleeper(client: &Client, id: &str, parent: &str) -> Result<()> {
    client.create_container(id, &runc::spec(&["sleep", "3600"])?, id).await?;
    let rootfs = client.prepare(id, parent).await?;
    let create = tasks::CreateTaskRequest { container_id: id.into(), rootfs, ..Default::default() };
    client.tasks().create(client.request(create)).await?;
    start(client, id, "").await
}
