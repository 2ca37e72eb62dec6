//! `berth wait`

use anyhow::{Result, bail};
use serde_json::json;

use crate::client::Client;
use crate::global::Global;
use crate::verbs::ps::exit_code;
use crate::{container, output, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The containers.
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.containers, async |name| {
        let record = container::get(&client, name).await?;
        let task = container::task(&client, &record.id).await?;
        let code = match (&task, exit_code(&record, task.as_ref())) {
            (_, Some(code)) => code,
            (Some(_), None) => container::wait(&client, &record.id).await?,
            (None, None) => bail!("container {} was never started", record.id),
        };
        let told = json!({ "id": record.id, "exit_code": code });
        output::told(global.json, code.to_string(), &told)
    })
    .await
}
