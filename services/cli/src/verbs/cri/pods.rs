//! `berth cri pods`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;
use clap::ValueEnum;

use crate::client::{Client, Step};
use crate::cri::{shown, write};
use crate::global::Global;
use crate::{output, parse};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show pods in this state only.
    #[arg(short, long, value_enum)]
    state: Option<State>,
    /// Show pods with this label only; with several, with all of them.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse::pair)]
    labels: Vec<(String, String)>,
    /// Print whole numbers only.
    #[arg(short, long)]
    quiet: bool,
    /// Do not cut numbers short.
    #[arg(long)]
    no_trunc: bool,
    /// A pod's number, or its first digits.
    id: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Ready,
    #[value(alias = "not-ready")]
    Notready,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let state = args.state.map(|state| match state {
        State::Ready => wire::PodSandboxState::SandboxReady,
        State::Notready => wire::PodSandboxState::SandboxNotready,
    });
    let filter = wire::PodSandboxFilter {
        id: args.id.unwrap_or_default(),
        state: state.map(|state| wire::PodSandboxStateValue { state: state.into() }),
        label_selector: args.labels.into_iter().collect(),
    };
    let pods = list(&client, filter).await?;
    if args.quiet {
        let ids: Vec<_> = pods.iter().map(|pod| pod.id.as_str()).collect();
        return output::names(global.json, &ids);
    }
    if global.json {
        return output::json(&pods.iter().map(write::json).collect::<Vec<_>>());
    }
    let rows: Vec<_> = pods.iter().map(|pod| as_row(pod, args.no_trunc)).collect();
    output::table(["POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"], &rows)
}

/// Pods, the newest first.
pub async fn list(
    client: &Client,
    filter: wire::PodSandboxFilter,
) -> Result<Vec<wire::PodSandbox>> {
    let request = client.request(wire::ListPodSandboxRequest { filter: Some(filter) });
    let answer = client.cri().list_pod_sandbox(request).await;
    let mut pods = answer.step(|| "list pods".to_owned())?.into_inner().items;
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.created_at));
    Ok(pods)
}

fn as_row(pod: &wire::PodSandbox, whole: bool) -> [String; 7] {
    let metadata = pod.metadata.clone().unwrap_or_default();
    let handler = if pod.runtime_handler.is_empty() { "(default)" } else { &pod.runtime_handler };
    [
        shown::number(&pod.id, whole),
        shown::age(pod.created_at),
        shown::pod_state(pod.state).to_owned(),
        metadata.name,
        metadata.namespace,
        metadata.attempt.to_string(),
        handler.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_first_digits_and_the_usual_handler() {
        let metadata = wire::PodSandboxMetadata {
            name: "web".into(),
            namespace: "shop".into(),
            attempt: 1,
            ..Default::default()
        };
        let mut pod = wire::PodSandbox {
            id: "0123456789abcdef".into(),
            metadata: Some(metadata),
            state: 1,
            ..Default::default()
        };
        let row = ["0123456789abc", "-", "NotReady", "web", "shop", "1", "(default)"];
        assert_eq!(as_row(&pod, false), row);
        pod.runtime_handler = "kata".into();
        let whole = as_row(&pod, true);
        assert_eq!((whole[0].as_str(), whole[6].as_str()), ("0123456789abcdef", "kata"));
    }
}
