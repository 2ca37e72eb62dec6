//! `berth top`: what containers use, live; or the processes of one.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};

use anyhow::Result;
use berth_proto::containerd::services::namespaces::v1::ListNamespacesRequest;
use berth_proto::containerd::services::tasks::v1::ListPidsRequest;
use serde::Serialize;
use serde_json::json;

use super::stats::{self, LOOK, Sample};
use crate::client::{Client, Step};
use crate::global::Global;
use crate::{container, output};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look once.
    #[arg(long, conflicts_with = "container")]
    once: bool,
    /// Show the processes of this container; without it, what all that run use, in all namespaces.
    container: Option<String>,
}

/// What is shown of one container.
#[derive(Debug, Serialize)]
struct Row {
    namespace: String,
    #[serde(flatten)]
    line: stats::Line,
    read_per_second: u64,
    written_per_second: u64,
}

/// Namespace and container.
type Key = (String, String);

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    match args.container {
        Some(container) => processes(&client, &container, global).await,
        None => live(&client, args.once, global).await,
    }
}

async fn live(client: &Client, once: bool, global: &Global) -> Result<()> {
    let mut before = samples(client).await?;
    let mut look = tokio::time::interval(LOOK);
    look.tick().await;
    loop {
        look.tick().await;
        let now = samples(client).await?;
        let mut rows: Vec<_> =
            now.iter().map(|(key, sample)| row(key, before.get(key), sample)).collect();
        rows.sort_by(|one, other| {
            let busiest = other.line.cpu_percent.total_cmp(&one.line.cpu_percent);
            let name = |row: &Row| (row.namespace.clone(), row.line.id.clone());
            busiest.then_with(|| name(one).cmp(&name(other)))
        });
        if !once && !global.json && std::io::stdout().is_terminal() {
            // Home and clear: what is printed replaces what was.
            std::io::stdout().write_all(b"\x1b[H\x1b[2J")?;
        }
        print(&rows, global, once)?;
        if once {
            return Ok(());
        }
        before = now;
    }
}

/// What the containers of all namespaces have used up to now.
async fn samples(client: &Client) -> Result<HashMap<Key, Sample>> {
    let request = client.request(ListNamespacesRequest::default());
    let listed = client.namespaces().list(request).await.step(|| "list namespaces".to_owned())?;
    let mut all = HashMap::new();
    for namespace in listed.into_inner().namespaces {
        let samples = stats::samples(&client.within(&namespace.name)?, &[]).await?;
        let keyed = samples.into_iter().map(|(id, of)| ((namespace.name.clone(), id), of));
        all.extend(keyed);
    }
    Ok(all)
}

fn row((namespace, id): &Key, before: Option<&Sample>, now: &Sample) -> Row {
    let rate = |of: fn(&Sample) -> u64| {
        let nanos = before.map_or(0, |before| now.nanos - before.nanos);
        let moved = before.map_or(0, |before| of(now).saturating_sub(of(before)));
        match nanos > 0 {
            true => u64::try_from(i128::from(moved) * 1_000_000_000 / nanos).unwrap_or(u64::MAX),
            false => 0,
        }
    };
    Row {
        namespace: namespace.clone(),
        line: stats::line(id, before, now),
        read_per_second: rate(|sample| sample.read),
        written_per_second: rate(|sample| sample.written),
    }
}

fn print(rows: &[Row], global: &Global, once: bool) -> Result<()> {
    if global.json {
        return if once { output::json(&rows) } else { output::json_line(&rows) };
    }
    let cells = |row: &Row| {
        let rate = |bytes| format!("{}/s", output::size(bytes));
        [
            row.namespace.clone(),
            row.line.id.clone(),
            format!("{:.1} %", row.line.cpu_percent),
            output::size(row.line.memory),
            row.line.pids.to_string(),
            rate(row.read_per_second),
            rate(row.written_per_second),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    output::table(["NAMESPACE", "NAME", "CPU", "MEMORY", "PIDS", "READ", "WRITTEN"], &rows)
}

async fn processes(client: &Client, container: &str, global: &Global) -> Result<()> {
    let record = container::get(client, container).await?;
    container::running(client, &record.id).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_by_the_second() {
        let before = Sample { nanos: 1, read: 100, written: 7, ..Sample::default() };
        let now = Sample { nanos: 2_000_000_001, read: 2_100, written: 7, ..Sample::default() };
        let key = ("n".to_owned(), "c".to_owned());
        let of = row(&key, Some(&before), &now);
        assert_eq!((of.read_per_second, of.written_per_second), (1_000, 0));
        assert_eq!(row(&key, None, &now).read_per_second, 0);
    }
}
