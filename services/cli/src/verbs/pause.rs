//! `berth pause` and `berth unpause`

use anyhow::Result;
use berth_proto::containerd::services::tasks::v1::{PauseTaskRequest, ResumeTaskRequest};

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{container, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The containers.
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Suspends.
pub async fn pause(args: Args, global: &Global) -> Result<()> {
    each_running(args, global, async |client, id| {
        let request = client.request(PauseTaskRequest { container_id: id.to_owned() });
        let answer = client.tasks().pause(request).await;
        answer.step(|| format!("pause container {id}")).map(|_| ())
    })
    .await
}

/// Resumes.
pub async fn unpause(args: Args, global: &Global) -> Result<()> {
    each_running(args, global, async |client, id| {
        let request = client.request(ResumeTaskRequest { container_id: id.to_owned() });
        let answer = client.tasks().resume(request).await;
        answer.step(|| format!("unpause container {id}")).map(|_| ())
    })
    .await
}

async fn each_running(
    args: Args,
    global: &Global,
    action: impl AsyncFn(&Client, &str) -> Result<()>,
) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.containers, async |name| {
        let record = container::get(&client, name).await?;
        container::running(&client, &record.id).await?;
        action(&client, &record.id).await?;
        verbs::done(global, &record.id)
    })
    .await
}
