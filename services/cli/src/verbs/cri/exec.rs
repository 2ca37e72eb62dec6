//! `berth cri exec`

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::parse;
use crate::verbs::passed_on;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill it after so long, such as 10 or 1m30s; 0: never.
    #[arg(long, value_parser = parse::seconds, default_value = "0")]
    timeout: Duration,
    /// The container, by its number or the first digits.
    container: String,
    /// The program and its arguments. What it prints is shown when it has ended.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let client = Client::connect(global).await?;
    let id = args.container;
    let timeout = i64::try_from(args.timeout.as_secs()).unwrap_or(i64::MAX);
    let request = wire::ExecSyncRequest { container_id: id.clone(), cmd: args.command, timeout };
    let request = match timeout {
        0 => client.patient(request),
        _ => client.lasting(request, args.timeout),
    };
    let answer = client.cri().exec_sync(request).await;
    let ran = answer.step(|| format!("exec in container {id}"))?.into_inner();
    let mut out = std::io::stdout().lock();
    out.write_all(&ran.stdout)?;
    out.flush()?;
    std::io::stderr().write_all(&ran.stderr)?;
    let code = u32::try_from(ran.exit_code).context("the exit code is none")?;
    Ok(passed_on(code))
}
