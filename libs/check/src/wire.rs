//! Questions and reports as messages.

use berth_proto::berth::node::v1 as wire;

use crate::{Asked, Finding, Outcome, Report};

impl From<wire::CheckRequest> for Asked {
    fn from(request: wire::CheckRequest) -> Self {
        let wire::CheckRequest { digests, repair } = request;
        Self { digests, repair }
    }
}

impl From<Report> for wire::CheckResponse {
    fn from(report: Report) -> Self {
        let Report { examined, findings, left_out } = report;
        Self { examined, findings: findings.into_iter().map(finding).collect(), left_out }
    }
}

fn finding((finding, outcome): (Finding, Outcome)) -> wire::CheckFinding {
    use wire::check_finding::Outcome as Wire;
    let Finding { kind, namespace, name, wrong, remedy, mendable } = finding;
    let (outcome, error) = match outcome {
        Outcome::Found => (Wire::Found, String::new()),
        Outcome::Mended => (Wire::Mended, String::new()),
        Outcome::Failed(error) => (Wire::Failed, error),
    };
    wire::CheckFinding {
        kind: kind.to_owned(),
        namespace,
        name,
        wrong,
        remedy: remedy.to_owned(),
        mendable,
        outcome: outcome.into(),
        error,
    }
}
