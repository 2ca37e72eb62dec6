//! `berth start`

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::client::Client;
use crate::global::Global;
use crate::launch::{self, Stdio};
use crate::verbs::{passed_on, run};
use crate::{container, network, output, parse};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stay connected to its output until it ends.
    #[arg(short, long)]
    attach: bool,
    /// Give the program what is typed here.
    #[arg(short, long, requires = "attach")]
    interactive: bool,
    /// Rotate the log at this size.
    #[arg(long, value_name = "SIZE", value_parser = parse::size, default_value = run::LOG_SIZE)]
    log_max_size: u64,
    /// Keep so many files of the log.
    #[arg(long, value_name = "COUNT", default_value_t = run::LOG_FILES)]
    log_max_files: u32,
    /// The container.
    container: String,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let client = Client::connect(global).await?;
    let record = container::get(&client, &args.container).await?;
    if let Some(task) = container::task(&client, &record.id).await? {
        if container::is_alive(&task) {
            bail!("container {} is running already", record.id);
        }
        container::forget_task(&client, &record).await?;
    }
    let record = network::make_ready(&client, record).await?;
    let spec = container::spec(&record)?;
    let tty = spec.process().as_ref().is_some_and(|of| of.terminal().unwrap_or_default());
    if args.attach {
        let code = run::attached(&client, &record, args.interactive, tty, false).await?;
        return Ok(passed_on(code));
    }
    let stdio = Stdio::logged(&record, tty, args.log_max_size, args.log_max_files);
    launch::create_task(&client, &record, stdio).await?;
    if let Err(error) = launch::start(&client, &record.id, "").await {
        // A task that does not start is of no use; the failure is what is told.
        let _ = container::forget_task(&client, &record).await;
        return Err(error);
    }
    if global.json {
        output::json(&serde_json::json!({ "id": record.id }))?;
    } else {
        output::line(&record.id)?;
    }
    Ok(ExitCode::SUCCESS)
}
