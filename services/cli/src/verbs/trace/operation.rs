//! What was done, as it is shown.

use std::fmt;
use std::time::{Duration, SystemTime};

use berth_proto::berth::node::v1::{RecentOperation, RecentOutcome, RecentPart, RecentStage};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One pull, one start.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    #[serde(serialize_with = "moment")]
    pub began: SystemTime,
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
    pub stages: Vec<Stage>,
    pub left_out: u64,
}

/// A part of it.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    pub bytes: u64,
    #[serde(rename = "from_ms", serialize_with = "millis")]
    pub from: Duration,
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    pub outcome: Outcome,
    pub parts: Vec<Part>,
}

/// Where a stage's time went.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    pub name: String,
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    UnderWay,
    Done,
    Failed,
    Left,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::UnderWay => "under way",
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::Left => "left",
        })
    }
}

impl Operation {
    /// The stage that took longest.
    pub fn longest(&self) -> Option<&Stage> {
        self.stages.iter().max_by_key(|stage| stage.took)
    }
}

impl From<RecentOperation> for Operation {
    fn from(told: RecentOperation) -> Self {
        let outcome = told.outcome().into();
        let began = told.began.and_then(|began| SystemTime::try_from(began).ok());
        Self {
            kind: told.kind,
            namespace: told.namespace,
            name: told.name,
            began: began.unwrap_or(SystemTime::UNIX_EPOCH),
            took: duration(told.took),
            outcome,
            error: told.error,
            trace_id: told.trace_id,
            stages: told.stages.into_iter().map(Into::into).collect(),
            left_out: told.left_out,
        }
    }
}

impl From<RecentStage> for Stage {
    fn from(told: RecentStage) -> Self {
        let outcome = told.outcome().into();
        let part = |part: RecentPart| Part { name: part.name, took: duration(part.took) };
        Self {
            name: told.name,
            about: told.about,
            bytes: told.bytes,
            from: duration(told.from),
            took: duration(told.took),
            outcome,
            parts: told.parts.into_iter().map(part).collect(),
        }
    }
}

impl From<RecentOutcome> for Outcome {
    fn from(told: RecentOutcome) -> Self {
        match told {
            RecentOutcome::UnderWay => Outcome::UnderWay,
            RecentOutcome::Done => Outcome::Done,
            RecentOutcome::Failed => Outcome::Failed,
            RecentOutcome::Left => Outcome::Left,
        }
    }
}

fn duration(told: Option<prost_types::Duration>) -> Duration {
    told.and_then(|told| Duration::try_from(told).ok()).unwrap_or_default()
}

fn millis<S: Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
    // As precise as the clock is of use.
    to.serialize_f64(took.as_micros() as f64 / 1000.0)
}

fn moment<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    let text = OffsetDateTime::from(*at).format(&Rfc3339);
    to.serialize_str(&text.unwrap_or_default())
}
