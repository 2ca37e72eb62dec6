//! `berth cri logs`

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use berth_proto::runtime::v1 as wire;
use tonic::Code;

use crate::client::{Client, answered};
use crate::cri;
use crate::global::Global;
use crate::logs::{Shown, follow, show};

/// How often a container is looked at whose end is waited for.
const LOOK: Duration = Duration::from_millis(500);

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on until the container ends.
    #[arg(short, long)]
    follow: bool,
    /// Show when each line was written.
    #[arg(short, long)]
    timestamps: bool,
    /// Show only so many of the last lines.
    #[arg(long, value_name = "COUNT")]
    tail: Option<usize>,
    /// The container, by its number or the first digits.
    container: String,
}

/// Does it. The file is read here, not by the runtime.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let (container, _) = cri::container(&client, &args.container, false).await?;
    let (id, path) = (container.id, Path::new(&container.log_path));
    if container.log_path.is_empty() {
        bail!("container {id} has no log: its pod has no log_directory, or itself no log_path");
    }
    let shown = Shown { json: global.json, timestamps: args.timestamps, tail: args.tail };
    if !args.follow {
        return show(path, shown);
    }
    let mut outcome = Ok(());
    let ended = async { outcome = end(&client, &id).await };
    follow(path, shown, ended).await?;
    outcome
}

/// Until a container has ended, or is gone.
async fn end(client: &Client, id: &str) -> Result<()> {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        match cri::container(client, id, false).await {
            Ok((now, _)) if now.state() != wire::ContainerState::ContainerExited => {}
            Ok(_) => return Ok(()),
            Err(error) if answered(&error, Code::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
