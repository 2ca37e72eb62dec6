//! `berth unpause`

use anyhow::Result;
use berth_proto::containerd::services::tasks::v1::ResumeTaskRequest;

use crate::client::{Client, Step};
use crate::global::Global;
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
        container::running(&client, &record.id).await?;
        let request = ResumeTaskRequest { container_id: record.id.clone() };
        let answer = client.tasks().resume(client.request(request)).await;
        answer.step(|| format!("unpause container {}", record.id))?;
        output::line(&record.id)
    })
    .await
}
