//! Executing a program in a running container, to its end.

use anyhow::Result;
use berth_proto::containerd::services::tasks::v1 as tasks;
use prost_types::Any;
use serde_json::Value;

use crate::client::Client;
use crate::daemon::{Node, Pair};
use crate::turns::{median, take_beside, time};
use crate::{images, life, runc};

const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// Measures it, beside what runc takes for itself.
pub async fn measure(pair: &Pair, rounds: usize) -> Result<()> {
    let registry = berth_testkit::Registry::start()?;
    let image = images::tiny()?.push(&registry, "tiny:1")?;
    for node in pair.nodes() {
        images::pull(node, &image)?;
        let parent = node.client.top_snapshot().await?;
        life::sleeper(&node.client, &id(node), &parent).await?;
    }
    let spec: Value = serde_json::from_slice(&runc::spec(&["true"])?)?;
    let process = serde_json::to_vec(&spec["process"])?;
    let alone = runc::Alone::new()?;
    let turn = async |node: &Node, number| {
        time(exec(&node.client, &id(node), &format!("exec-{number}"), &process)).await
    };
    let turns = take_beside(pair, rounds, || alone.turn(), turn).await?;
    let own = alone.finish();
    turns.report("exec of true to its end");
    turns.report_beyond("… beyond runc's own exec", median(&own.exec));
    Ok(())
}

fn id(node: &Node) -> String {
    format!("sleeper-{:?}-{}", node.place.kind, std::process::id()).to_lowercase()
}

async fn exec(client: &Client, id: &str, exec: &str, process: &[u8]) -> Result<()> {
    let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
    let spec = Some(Any { type_url: PROCESS.into(), value: process.to_vec() });
    let request = tasks::ExecProcessRequest { container_id, exec_id, spec, ..Default::default() };
    client.tasks().exec(client.request(request)).await?;
    life::start(client, id, exec).await?;
    let wait = tasks::WaitRequest { container_id: id.into(), exec_id: exec.into() };
    client.tasks().wait(client.request(wait)).await?;
    let delete = tasks::DeleteProcessRequest { container_id: id.into(), exec_id: exec.into() };
    client.tasks().delete_process(client.request(delete)).await?;
    Ok(())
}
