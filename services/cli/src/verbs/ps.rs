//! `berth ps`

use std::collections::HashMap;

use anyhow::Result;
use berth_proto::berth::node::v1::Attachment;
use berth_proto::containerd::services::containers::v1::Container;
use berth_proto::containerd::v1::types::{Process, Status};
use serde_json::{Value, json};

use crate::client::Client;
use crate::container::{self, EXIT_LABEL, EXITED_LABEL};
use crate::global::Global;
use crate::network::{self, shown};
use crate::{output, reference};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show containers that are not running too.
    #[arg(short, long)]
    all: bool,
    /// Print names only.
    #[arg(short, long)]
    quiet: bool,
    /// Do not cut long commands.
    #[arg(long)]
    no_trunc: bool,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let mut shown = listed(&client, args.all).await?;
    // Newest first.
    let moment = |of: &Container| of.created_at.as_ref().map(|t| (t.seconds, t.nanos));
    shown.sort_by_key(|of| std::cmp::Reverse(moment(&of.record)));
    if args.quiet {
        let ids: Vec<_> = shown.iter().map(|of| of.record.id.as_str()).collect();
        return output::names(global.json, &ids);
    }
    if global.json {
        return output::json(&shown.iter().map(as_json).collect::<Vec<_>>());
    }
    let mut headings = vec!["NAME", "IMAGE", "COMMAND", "CREATED", "STATUS", "PID"];
    let mut rows: Vec<_> = shown.iter().map(|of| as_row(of, args.no_trunc).to_vec()).collect();
    if shown.iter().any(|of| of.attached.is_some()) {
        headings.extend(["ADDRESS", "PORTS"]);
        shown.iter().zip(&mut rows).for_each(|(of, row)| row.extend(network_cells(of)));
    }
    output::grid(&headings, &rows)
}

/// The first address, and the ports of the machine that lead there.
fn network_cells(of: &Listed) -> [String; 2] {
    let Some(attached) = &of.attached else { return ["-".to_owned(), String::new()] };
    let address = shown::addresses(attached).first().map_or("-", |address| *address);
    [address.to_owned(), shown::ports(&attached.ports)]
}

/// A container, of whose spec nothing is kept but the command.
struct Listed {
    record: Container,
    command: String,
    task: Option<Process>,
    attached: Option<Attachment>,
}

/// The containers that run, or all. One whose shim does not answer may run.
async fn listed(client: &Client, all: bool) -> Result<Vec<Listed>> {
    let tasks = container::tasks(client).await?;
    let mut tasks: HashMap<_, _> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
    let attached = network::of_namespace(client).await?;
    let mut attached: HashMap<_, _> = attached.into_iter().map(|of| (of.id.clone(), of)).collect();
    let mut listed = Vec::new();
    let take = |mut record: Container| {
        let task = tasks.remove(&record.id);
        if all || task.as_ref().is_some_and(|task| task.status() != Status::Stopped) {
            let command = command(&record);
            record.spec = None;
            record.extensions.clear();
            let attached = attached.remove(&record.id);
            listed.push(Listed { record, command, task, attached });
        }
    };
    container::list(client, Vec::new(), take).await?;
    // What goes on of containers whose records are lost.
    listed.extend(tasks.into_iter().map(|(id, task)| {
        let record = Container { id, ..Default::default() };
        Listed { record, command: String::new(), task: Some(task), attached: None }
    }));
    Ok(listed)
}

fn as_row(of: &Listed, whole: bool) -> [String; 6] {
    [
        of.record.id.clone(),
        reference::familiar(&of.record.image).to_owned(),
        shortened(&of.command, whole),
        output::age(of.record.created_at.as_ref()),
        status(&of.record, of.task.as_ref()),
        pid(of.task.as_ref()).map_or("-".to_owned(), |pid| pid.to_string()),
    ]
}

/// The host's number of the program, if it runs.
pub fn pid(task: Option<&Process>) -> Option<u32> {
    task.filter(|of| container::is_alive(of)).map(|of| of.pid)
}

/// The container's command as one line.
fn command(record: &Container) -> String {
    let spec = container::spec(record).ok();
    let process = spec.as_ref().and_then(|spec| spec.process().as_ref());
    process.and_then(|of| of.args().as_ref()).map(|args| args.join(" ")).unwrap_or_default()
}

fn shortened(command: &str, whole: bool) -> String {
    let line: String = command.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if whole || line.chars().count() <= 30 {
        return line;
    }
    format!("{}…", line.chars().take(29).collect::<String>())
}

/// What the container does, in one word.
pub fn state(record: &Container, task: Option<&Process>) -> &'static str {
    match task.map(Process::status) {
        Some(Status::Running) => "running",
        Some(Status::Paused | Status::Pausing) => "paused",
        Some(Status::Created) => "created",
        Some(Status::Stopped) => "exited",
        Some(Status::Unknown) => "unknown",
        None if record.labels.contains_key(EXIT_LABEL) => "exited",
        None => "created",
    }
}

/// What the last program ended with, if it has ended.
pub fn exit_code(record: &Container, task: Option<&Process>) -> Option<u32> {
    match task {
        Some(task) if task.status() == Status::Stopped => Some(task.exit_status),
        Some(_) => None,
        None => record.labels.get(EXIT_LABEL).and_then(|code| code.parse().ok()),
    }
}

fn status(record: &Container, task: Option<&Process>) -> String {
    match (state(record, task), exit_code(record, task)) {
        ("running", _) => "up".to_owned(),
        (state, Some(code)) => format!("{state} ({code})"),
        (state, None) => state.to_owned(),
    }
}

fn as_json(Listed { record, command, task, attached }: &Listed) -> Value {
    let task = task.as_ref();
    let (addresses, ports) = attached.as_ref().map_or_else(Default::default, |of| {
        (shown::addresses(of), of.ports.iter().map(shown::port).collect::<Vec<_>>())
    });
    let exited_at = match task {
        Some(task) => output::moment(task.exited_at.as_ref()),
        None => record.labels.get(EXITED_LABEL).cloned().unwrap_or_default(),
    };
    json!({
        "id": record.id,
        "image": record.image,
        "command": command,
        "created_at": output::moment(record.created_at.as_ref()),
        "state": state(record, task),
        "pid": pid(task),
        "exit_code": exit_code(record, task),
        "exited_at": exited_at,
        "labels": record.labels,
        "addresses": addresses,
        "ports": ports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_how_it_ended() {
        let mut record = Container { id: "c".into(), ..Default::default() };
        assert_eq!(status(&record, None), "created");
        record.labels.insert(EXIT_LABEL.into(), "7".into());
        assert_eq!(status(&record, None), "exited (7)");
        let mut task = Process { exit_status: 3, ..Default::default() };
        task.set_status(Status::Stopped);
        assert_eq!(status(&record, Some(&task)), "exited (3)");
        task.set_status(Status::Running);
        assert_eq!(status(&record, Some(&task)), "up");
    }

    #[test]
    fn a_long_command_is_cut_and_kept_on_one_line() {
        assert_eq!(shortened("sh -c a\nb", false), "sh -c a b");
        assert_eq!(shortened(&"x".repeat(31), false).chars().count(), 30);
        assert_eq!(shortened(&"x".repeat(31), true).len(), 31);
    }
}
