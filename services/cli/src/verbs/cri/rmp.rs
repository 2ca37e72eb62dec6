//! `berth cri rmp`

use anyhow::{Result, bail};
use berth_proto::runtime::v1 as wire;

use super::stopp;
use crate::client::{Client, Step};
use crate::global::Global;
use crate::{cri, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop those that are ready first.
    #[arg(short, long)]
    force: bool,
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
        let id = &pod.id;
        if args.force {
            stopp::stop(&client, id).await?;
        } else if pod.state() == wire::PodSandboxState::SandboxReady {
            bail!("pod {id} is ready, use `berth cri stopp` first or give -f");
        }
        let request = wire::RemovePodSandboxRequest { pod_sandbox_id: id.clone() };
        let answer = client.cri().remove_pod_sandbox(client.request(request)).await;
        answer.step(|| format!("remove pod {id}"))?;
        verbs::done(global, id)
    })
    .await
}
