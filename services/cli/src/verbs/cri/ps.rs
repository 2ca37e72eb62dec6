//! `berth cri ps`

use std::collections::HashMap;

use anyhow::Result;
use berth_proto::runtime::v1 as wire;
use clap::ValueEnum;

use super::pods;
use crate::client::{Client, Step};
use crate::cri::{shown, write};
use crate::global::Global;
use crate::{output, parse};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show containers that are not running too.
    #[arg(short, long)]
    all: bool,
    /// Show containers of this pod only.
    #[arg(short, long, value_name = "POD")]
    pod: Option<String>,
    /// Show containers in this state only, whatever it is.
    #[arg(short, long, value_enum)]
    state: Option<State>,
    /// Show containers with this label only; with several, with all of them.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse::pair)]
    labels: Vec<(String, String)>,
    /// Print whole numbers only.
    #[arg(short, long)]
    quiet: bool,
    /// Do not cut numbers short.
    #[arg(long)]
    no_trunc: bool,
    /// A container's number, or its first digits.
    id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    Created,
    Running,
    Exited,
    Unknown,
}

impl From<State> for wire::ContainerState {
    fn from(state: State) -> Self {
        match state {
            State::Created => Self::ContainerCreated,
            State::Running => Self::ContainerRunning,
            State::Exited => Self::ContainerExited,
            State::Unknown => Self::ContainerUnknown,
        }
    }
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let (quiet, whole) = (args.quiet, args.no_trunc);
    let request = client.request(wire::ListContainersRequest { filter: Some(filter(args)) });
    let answer = client.cri().list_containers(request).await;
    let mut containers = answer.step(|| "list containers".to_owned())?.into_inner().containers;
    containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    if quiet {
        let ids: Vec<_> = containers.iter().map(|container| container.id.as_str()).collect();
        return output::names(global.json, &ids);
    }
    if global.json {
        return output::json(&containers.iter().map(write::json).collect::<Vec<_>>());
    }
    let pods = pods::list(&client, wire::PodSandboxFilter::default()).await?;
    let pods = pods.into_iter().map(|pod| (pod.id, pod.metadata.unwrap_or_default())).collect();
    let rows: Vec<_> = containers.iter().map(|of| as_row(of, &pods, whole)).collect();
    output::table(
        ["CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD", "NAMESPACE"],
        &rows,
    )
}

/// What is asked for: those that run, unless it is said otherwise.
fn filter(args: Args) -> wire::ContainerFilter {
    let state = args.state.or((!args.all && args.id.is_none()).then_some(State::Running));
    wire::ContainerFilter {
        id: args.id.unwrap_or_default(),
        state: state.map(|state| wire::ContainerStateValue {
            state: wire::ContainerState::from(state).into(),
        }),
        pod_sandbox_id: args.pod.unwrap_or_default(),
        label_selector: args.labels.into_iter().collect(),
    }
}

fn as_row(
    of: &wire::Container,
    pods: &HashMap<String, wire::PodSandboxMetadata>,
    whole: bool,
) -> [String; 9] {
    let metadata = of.metadata.clone().unwrap_or_default();
    let pod = pods.get(&of.pod_sandbox_id).cloned().unwrap_or_default();
    [
        shown::number(&of.id, whole),
        shown::image(of.image.as_ref(), whole),
        shown::age(of.created_at),
        shown::container_state(of.state).to_owned(),
        metadata.name,
        metadata.attempt.to_string(),
        shown::number(&of.pod_sandbox_id, whole),
        pod.name,
        pod.namespace,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args {
            all: false,
            pod: None,
            state: None,
            labels: Vec::new(),
            quiet: false,
            no_trunc: false,
            id: None,
        }
    }

    #[test]
    fn those_that_run_are_shown_unless_it_is_said_otherwise() {
        let state = |args| filter(args).state.map(|state| state.state);
        assert_eq!(state(args()), Some(wire::ContainerState::ContainerRunning.into()));
        assert_eq!(state(Args { all: true, ..args() }), None);
        assert_eq!(state(Args { id: Some("1".into()), ..args() }), None);
        let exited = wire::ContainerState::ContainerExited;
        assert_eq!(state(Args { state: Some(State::Exited), ..args() }), Some(exited.into()));
    }

    #[test]
    fn a_row_names_the_pod() {
        let container = wire::Container {
            id: "c".repeat(64),
            pod_sandbox_id: "p".into(),
            metadata: Some(wire::ContainerMetadata { name: "web".into(), attempt: 3 }),
            image: Some(wire::ImageSpec { image: "busybox:1".into(), ..Default::default() }),
            state: 2,
            ..Default::default()
        };
        let pod = wire::PodSandboxMetadata {
            name: "front".into(),
            namespace: "shop".into(),
            ..Default::default()
        };
        let row = as_row(&container, &[("p".to_owned(), pod)].into(), false);
        let c = "c".repeat(13);
        assert_eq!(row, [&c, "busybox:1", "-", "Exited", "web", "3", "p", "front", "shop"]);
    }
}
