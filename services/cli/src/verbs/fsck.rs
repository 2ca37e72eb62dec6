//! `berth fsck`

use std::process::ExitCode;

use anyhow::Result;
use berth_proto::berth::node::v1::check_finding::Outcome;
use berth_proto::berth::node::v1::{CheckFinding, CheckRequest, CheckResponse};
use serde_json::{Value, json};

use crate::client::{Client, Step};
use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Mend what can be mended without loss; nothing is changed otherwise.
    #[arg(long)]
    repair: bool,
    /// Hash all blobs, too.
    #[arg(long)]
    digests: bool,
}

/// Does it: 0 when nothing was found, 1 when something was, mended or not.
pub async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let client = Client::connect(global).await?;
    let reports = ask(&client, &args).await?;
    let found = reports.iter().any(|(_, report)| !report.findings.is_empty());
    if global.json {
        output::json(&reports.iter().map(as_json).collect::<Vec<_>>())?;
    } else {
        for (owner, report) in &reports {
            print(owner, report)?;
        }
    }
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What each owner has found.
async fn ask(client: &Client, args: &Args) -> Result<[(&'static str, CheckResponse); 3]> {
    let request = || {
        let Args { digests, repair } = *args;
        // Hashing takes as long as it takes.
        client.patient(CheckRequest { digests, repair })
    };
    let (mut distribution, mut bundle, mut runtime) =
        (client.distribution_check(), client.bundle_check(), client.runtime_check());
    let (distribution, bundle, runtime) = tokio::join!(
        distribution.check(request()),
        bundle.check(request()),
        runtime.check(request())
    );
    let doing = |owner| move || format!("check {owner}");
    Ok([
        ("distribution", distribution.step(doing("distribution"))?.into_inner()),
        ("bundle", bundle.step(doing("bundle"))?.into_inner()),
        ("runtime", runtime.step(doing("runtime"))?.into_inner()),
    ])
}

fn print(owner: &str, report: &CheckResponse) -> Result<()> {
    let found = report.findings.len() as u64 + report.left_out;
    output::line(format!("{owner}: {found} found, {} looked at", report.examined))?;
    report.findings.iter().map(told).try_for_each(output::line)?;
    if report.left_out > 0 {
        output::line(format!("  {} more are not shown", report.left_out))?;
    }
    Ok(())
}

fn told(finding: &CheckFinding) -> String {
    let CheckFinding { kind, namespace, name, wrong, remedy, .. } = finding;
    let space = if namespace.is_empty() { String::new() } else { format!("{namespace} ") };
    let next = match finding.outcome() {
        Outcome::Found => remedy.clone(),
        Outcome::Mended => "mended".to_owned(),
        Outcome::Failed => format!("not mended: {}", finding.error),
    };
    format!("  {kind}: {space}{name}: {wrong}; {next}")
}

fn as_json((owner, report): &(&'static str, CheckResponse)) -> Value {
    let finding = |finding: &CheckFinding| {
        let outcome = match finding.outcome() {
            Outcome::Found => "found",
            Outcome::Mended => "mended",
            Outcome::Failed => "failed",
        };
        json!({
            "kind": finding.kind,
            "namespace": finding.namespace,
            "name": finding.name,
            "wrong": finding.wrong,
            "remedy": finding.remedy,
            "mendable": finding.mendable,
            "outcome": outcome,
            "error": finding.error,
        })
    };
    json!({
        "owner": owner,
        "examined": report.examined,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "left_out": report.left_out,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_became_of_it() {
        let mut finding = CheckFinding {
            kind: "blob without record".into(),
            name: "sha256:ab".into(),
            wrong: "no namespace has it".into(),
            remedy: "a repair deletes it".into(),
            ..Default::default()
        };
        let start = "  blob without record: sha256:ab: no namespace has it; ";
        assert_eq!(told(&finding), format!("{start}a repair deletes it"));
        finding.set_outcome(Outcome::Mended);
        assert_eq!(told(&finding), format!("{start}mended"));
        finding.set_outcome(Outcome::Failed);
        (finding.namespace, finding.error) = ("k8s.io".into(), "denied".into());
        assert!(told(&finding).contains(": k8s.io sha256:ab: "), "{}", told(&finding));
        assert!(told(&finding).ends_with("; not mended: denied"));
    }
}
