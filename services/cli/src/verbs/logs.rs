//! `berth logs`

use std::path::Path;

use anyhow::{Result, bail};

use crate::client::Client;
use crate::container::{self, LOG_LABEL};
use crate::global::Global;
use crate::logs::{Shown, follow, show};

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
    /// The container.
    container: String,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let record = container::get(&client, &args.container).await?;
    let Some(path) = record.labels.get(LOG_LABEL).map(Path::new) else {
        bail!("container {} was not made by `berth run`, it has no log", record.id);
    };
    let shown = Shown { json: global.json, timestamps: args.timestamps, tail: args.tail };
    if !args.follow {
        return show(path, shown);
    }
    let ended = async {
        // A container without a task has ended; so it has when its task is gone.
        let _ = container::wait(&client, &record.id).await;
    };
    follow(path, shown, ended).await
}
