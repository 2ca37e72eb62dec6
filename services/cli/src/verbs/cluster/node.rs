//! `berth cluster node`: what a node says of itself, and whether the view says the same.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_proto::berth::cluster::v1::object::Is;
use berth_proto::berth::cluster::v1::{InspectRequest, Object, StatusRequest, View};
use serde_json::json;

use super::{listing, tell_worth};
use crate::client::{Client, Step};
use crate::cluster::compare::{Differences, differences, lasting};
use crate::cluster::{Kinds, Query, answered, list};
use crate::global::Global;
use crate::output;

/// How often the two are compared before what differs each time is told: a change takes its time from the
/// node to the view.
const LOOKS: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(1);

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name. Without it: the node that is asked.
    name: Option<String>,
    /// Print where the view says something else. The exit code is 1 if it does.
    #[arg(long)]
    compare: bool,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let client = Client::connect(global).await?;
    // It is there, then: how long another node may take is its own to know.
    let own = own_name(&client).await?;
    let name = args.name.unwrap_or(own);
    if args.compare {
        return compare(&client, &name, global).await;
    }
    let objects = inspect(&client, &name).await?;
    for kind in Kinds::ALL {
        let of: Vec<_> = objects.iter().filter(|object| is_of(object, kind)).cloned().collect();
        listing::print(kind, &of, None, global)?;
        if !global.json && kind != Kinds::Containers {
            output::line("")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_of(object: &Object, kind: Kinds) -> bool {
    match object.is {
        Some(Is::AsNode(_)) => kind == Kinds::Nodes,
        Some(Is::AsImage(_)) => kind == Kinds::Images,
        Some(Is::AsContainer(_)) => kind == Kinds::Containers,
        None => false,
    }
}

/// All that a node says of itself.
async fn inspect(client: &Client, name: &str) -> Result<Vec<Object>> {
    let doing = || format!("ask node {name:?} about itself");
    let request = client.request(InspectRequest { node: name.to_owned() });
    let mut stream = client.cluster().inspect(request).await.step(doing)?.into_inner();
    let mut objects = Vec::new();
    while let Some(piece) = stream.message().await.step(doing)? {
        objects.extend(piece.objects);
    }
    Ok(objects)
}

/// All that the view says of a node.
async fn viewed(client: &Client, name: &str) -> Result<(Vec<Object>, View)> {
    let (mut objects, mut worth) = (Vec::new(), View::default());
    for kind in Kinds::ALL {
        let (found, view) = list(client, &Query::of_node(kind, name), None).await?;
        objects.extend(found);
        worth = view;
    }
    Ok((objects, worth))
}

async fn compare(client: &Client, name: &str, global: &Global) -> Result<ExitCode> {
    let mut found: Option<Differences> = None;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        let truth = inspect(client, name).await?;
        let (view, worth) = viewed(client, name).await?;
        let now = differences(&truth, &view);
        let left = match found {
            Some(earlier) => lasting(earlier, &now),
            None => now,
        };
        if left.is_empty() {
            let objects = truth.len();
            let text = format!("{name}: the view says what the node does, of {objects} objects");
            output::told(global.json, text, &json!({ "node": name, "objects": objects }))?;
            tell_worth(&worth);
            return Ok(ExitCode::SUCCESS);
        }
        if look + 1 == LOOKS {
            tell_worth(&worth);
        }
        found = Some(left);
    }
    for (of, difference) in found.unwrap_or_default() {
        let object = json!({ "node": name, "object": of, "difference": difference });
        output::told(global.json, format!("{name}: {of}: {difference}"), &object)?;
    }
    Ok(ExitCode::FAILURE)
}

/// What the node that is asked is called.
async fn own_name(client: &Client) -> Result<String> {
    let mut cluster = client.cluster();
    let answer = answered(cluster.status(client.request(StatusRequest {}))).await;
    let name = answer.step(|| "ask for the node's name".to_owned())?.node;
    Some(name).filter(|name| !name.is_empty()).context("the node does not say its name")
}
