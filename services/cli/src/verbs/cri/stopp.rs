//! `berth cri stopp`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{cri, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pods, by their numbers or the first digits of these.
    #[arg(required = true, value_name = "POD")]
    pods: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    verbs::each(&args.pods, async |id| {
        // The runtime finds nothing wrong with one that is not there.
        let (pod, _) = cri::pod(&client, id, false).await?;
        stop(&client, &pod.id).await?;
        verbs::done(global, &pod.id)
    })
    .await
}

/// Stops a pod.
pub async fn stop(client: &Client, id: &str) -> Result<()> {
    let request = wire::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
    let answer = client.cri().stop_pod_sandbox(client.request(request)).await;
    answer.step(|| format!("stop pod {id}")).map(drop)
}
