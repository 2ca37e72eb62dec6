//! `berth top`

use anyhow::Result;
use berth_proto::containerd::services::tasks::v1::ListPidsRequest;
use serde_json::json;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{container, output};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The container.
    container: String,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let record = container::get(&client, &args.container).await?;
    container::running(&client, &record.id).await?;
    let request = client.request(ListPidsRequest { container_id: record.id.clone() });
    let answer = client.tasks().list_pids(request).await;
    let answer = answer.step(|| format!("list the processes of container {}", record.id))?;
    let mut pids: Vec<u32> = answer.into_inner().processes.into_iter().map(|p| p.pid).collect();
    pids.sort_unstable();
    if global.json {
        let list: Vec<_> =
            pids.iter().map(|p| json!({ "pid": p, "command": command(*p) })).collect();
        return output::json(&list);
    }
    let rows: Vec<_> = pids.iter().map(|pid| [pid.to_string(), command(*pid)]).collect();
    output::table(["PID", "COMMAND"], &rows)
}

/// What a process of this machine was started as; empty when it has ended.
fn command(pid: u32) -> String {
    let line = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
}
