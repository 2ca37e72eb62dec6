//! `berth trace`

mod operation;
mod stages;

use std::collections::HashSet;
use std::process::ExitCode;

use anyhow::{Result, bail};
use berth_proto::berth::node::v1::{RecentRequest, RecentResponse};
use tonic::{Response, Status};

use crate::client::{self, Client, Step};
use crate::global::Global;
use crate::{output, reference};
use operation::Operation;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A container or image: show the stages of the latest that was done to it, one of each kind.
    name: Option<String>,
    /// Show the stages of all that was done to it.
    #[arg(long, requires = "name")]
    all: bool,
    /// Without a name: show at most so many, the latest.
    #[arg(short = 'l', long, value_name = "NUMBER", default_value_t = 20)]
    latest: usize,
}

/// Does it, for all namespaces: 1 when a service could not be asked.
pub async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let client = Client::connect(global).await?;
    let (mut operations, whole) = ask(&client).await?;
    match &args.name {
        Some(name) => {
            operations = of(operations, name, args.all);
            if operations.is_empty() {
                bail!(
                    "nothing that was done to {name:?} is kept: the latest of each service are, since it \
                     started; clients that fetch blobs themselves pull without the node's knowing"
                );
            }
        }
        None => operations.truncate(args.latest),
    }
    if global.json {
        output::json(&operations)?;
    } else if args.name.is_some() {
        operations.iter().try_for_each(stages::print)?;
    } else {
        list(&operations)?;
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the services have kept, the latest first, and whether all have told it. One that is away holds
/// up the other's answer no longer than a call waits for it.
async fn ask(client: &Client) -> Result<(Vec<Operation>, bool)> {
    let request = || client.request(RecentRequest {});
    let (mut distribution, mut runtime) = (client.distribution_recent(), client.runtime_recent());
    let (distribution, runtime) =
        tokio::join!(distribution.list(request()), runtime.list(request()));
    let told = |owner: &str, answer: Result<Response<RecentResponse>, Status>| {
        answer.step(|| format!("ask {owner} what it did")).map(Response::into_inner)
    };
    let answers = [told("distribution", distribution), told("runtime", runtime)];
    let whole = answers.iter().all(Result::is_ok);
    if answers.iter().all(Result::is_err) {
        return Err(answers.into_iter().find_map(Result::err).expect("all are"));
    }
    let mut operations = Vec::new();
    for answer in answers {
        match answer {
            Ok(answer) => operations.extend(answer.operations.into_iter().map(Operation::from)),
            Err(error) => eprintln!("berth: {}", client::told(&error)),
        }
    }
    operations.sort_by_key(|operation| std::cmp::Reverse(operation.began));
    Ok((operations, whole))
}

/// Those about a name; of each kind the latest unless all are wanted.
fn of(mut operations: Vec<Operation>, name: &str, all: bool) -> Vec<Operation> {
    let whole = reference::normalise(name).unwrap_or_default();
    operations.retain(|operation| operation.name == name || operation.name == whole);
    let mut seen = HashSet::new();
    operations.retain(|operation| all || seen.insert(operation.kind.clone()));
    // In the order in which they happened.
    operations.reverse();
    operations
}

fn list(operations: &[Operation]) -> Result<()> {
    let row = |operation: &Operation| {
        [
            output::age(Some(&operation.began.into())),
            operation.kind.clone(),
            operation.namespace.clone(),
            reference::familiar(&operation.name).to_owned(),
            stages::time(operation.took),
            operation.outcome.to_string(),
            operation.longest().map(stages::named).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = operations.iter().map(row).collect();
    output::table(["BEGAN", "WHAT", "NAMESPACE", "NAME", "TOOK", "OUTCOME", "LONGEST STAGE"], &rows)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use operation::Outcome;

    fn operation(kind: &str, name: &str, at: u64) -> Operation {
        Operation {
            kind: kind.to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            began: SystemTime::UNIX_EPOCH + Duration::from_secs(at),
            took: Duration::ZERO,
            outcome: Outcome::Done,
            error: String::new(),
            trace_id: String::new(),
            stages: Vec::new(),
            left_out: 0,
        }
    }

    #[test]
    fn a_name_has_the_latest_of_each_kind() {
        let latest_first = || {
            let start = operation("start", "web", 4);
            let other = operation("create", "other", 3);
            vec![start, other, operation("create", "web", 2), operation("create", "web", 1)]
        };
        let at = |operations: Vec<Operation>| {
            let seconds = |o: &Operation| o.began.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            operations.iter().map(|o| (o.kind.clone(), seconds(o).as_secs())).collect::<Vec<_>>()
        };
        let web = at(of(latest_first(), "web", false));
        assert_eq!(web, [("create".to_owned(), 2), ("start".to_owned(), 4)]);
        assert_eq!(of(latest_first(), "web", true).len(), 3);
        assert!(of(latest_first(), "we", true).is_empty());
        let pulls = vec![operation("pull", "docker.io/library/busybox:latest", 1)];
        assert_eq!(of(pulls, "busybox", false).len(), 1);
    }
}
