//! `berth cluster events`

use std::time::SystemTime;

use anyhow::Result;
use berth_proto::berth::cluster::v1::{Change, View};
use futures::StreamExt;
use futures::stream::select_all;
use serde_json::json;

use super::listing::{say, say_connected};
use crate::client::Client;
use crate::cluster::follow::{Begin, Follower, Told};
use crate::cluster::{Kinds, Query, shown};
use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show changes of this kind; may be given again. Without it: of all.
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kinds>,
    /// Show what this filter matches; with several, what any of them does.
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// Begin with the change of this revision, as `resume` of --json tells it, instead of with the next.
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(1..))]
    since: Option<i64>,
    /// End after so many changes.
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let begin = args.since.map_or(Begin::Now, Begin::At);
    let kinds = if args.kinds.is_empty() { Kinds::ALL.to_vec() } else { args.kinds };
    let follow = |kind: Kinds| {
        let query = Query::new(kind, &args.filters, global.namespace.as_deref());
        Box::pin(Follower::new(&client, query, begin).into_stream().map(move |told| (kind, told)))
    };
    let mut all = select_all(kinds.into_iter().map(follow));
    let (mut left, mut said) = (args.count, String::new());
    while left != Some(0) {
        let Some((kind, told)) = all.next().await else { break };
        let name = kind.name();
        match told? {
            Told::Changes { changes, view, .. } => {
                for change in &changes {
                    if left == Some(0) {
                        break;
                    }
                    print(change, &view, global)?;
                    left = left.map(|left| left - 1);
                }
                say_connected(&mut said, &view);
            }
            Told::Broken(why) => say(&mut said, format!("{name}: broke off, is resumed: {why}")),
            Told::Lost(why) => {
                let next = "list again what is to be known; it goes on with the next change";
                say(&mut said, format!("{name}: changes were lost: {why}; {next}"));
            }
        }
    }
    Ok(())
}

fn print(change: &Change, view: &View, global: &Global) -> Result<()> {
    let Some(object) = &change.object else { return Ok(()) };
    let seen_at = output::moment(Some(&SystemTime::now().into()));
    let is = shown::as_json(object);
    if global.json {
        return output::json_line(&json!({
            "seen_at": seen_at,
            "resume": view.revision + 1,
            "deleted": change.deleted,
            "object": is,
            "view": shown::worth_as_json(view),
        }));
    }
    let what = if change.deleted { "gone" } else { "is" };
    let kind = is["kind"].as_str().unwrap_or_default();
    output::line(format!("{seen_at} {kind} {what}  {}", shown::row(object).join("  ")))
}
