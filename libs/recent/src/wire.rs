//! Operations as messages.

use berth_proto::berth::node::v1 as wire;

use crate::{Operation, Outcome, Part, Stage, told};

/// All that is kept.
#[must_use]
pub fn answer() -> wire::RecentResponse {
    wire::RecentResponse { operations: told().into_iter().map(Into::into).collect() }
}

impl From<Operation> for wire::RecentOperation {
    fn from(operation: Operation) -> Self {
        let (outcome, error) = outcome(operation.outcome);
        Self {
            number: operation.number,
            kind: operation.kind.to_owned(),
            namespace: operation.namespace,
            name: operation.name,
            began: Some(operation.began.into()),
            took: prost_types::Duration::try_from(operation.took).ok(),
            outcome: outcome.into(),
            error,
            trace_id: operation.trace.map(|trace| format!("{trace:032x}")).unwrap_or_default(),
            stages: operation.stages.into_iter().map(Into::into).collect(),
            left_out: operation.left_out,
        }
    }
}

impl From<Stage> for wire::RecentStage {
    fn from(stage: Stage) -> Self {
        let (outcome, _) = outcome(stage.outcome);
        Self {
            name: stage.name.to_owned(),
            about: stage.about,
            bytes: stage.bytes,
            from: prost_types::Duration::try_from(stage.from).ok(),
            took: prost_types::Duration::try_from(stage.took).ok(),
            outcome: outcome.into(),
            parts: stage.parts.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Part> for wire::RecentPart {
    fn from(part: Part) -> Self {
        Self { name: part.name, took: prost_types::Duration::try_from(part.took).ok() }
    }
}

fn outcome(outcome: Outcome) -> (wire::RecentOutcome, String) {
    match outcome {
        Outcome::UnderWay => (wire::RecentOutcome::UnderWay, String::new()),
        Outcome::Done => (wire::RecentOutcome::Done, String::new()),
        Outcome::Failed(error) => (wire::RecentOutcome::Failed, error),
        Outcome::Left => (wire::RecentOutcome::Left, String::new()),
    }
}
