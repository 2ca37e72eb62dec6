//! `berth run`

use std::process::ExitCode;

use anyhow::{Context, Result};
use berth_proto::containerd::services::containers::v1::Container;

use crate::attach::{Pipes, Program, foreground};
use crate::client::Client;
use crate::global::Global;
use crate::launch::{self, Stdio};
use crate::verbs::{create, passed_on};
use crate::{container, output, parse};

/// How large a background container's log may become before it is rotated.
pub const LOG_SIZE: &str = "10m";

/// How many files a background container's log has at most.
pub const LOG_FILES: u32 = 3;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run in the background and print the container's name.
    #[arg(short, long, conflicts_with = "interactive")]
    detach: bool,
    /// Give the program what is typed here.
    #[arg(short, long)]
    interactive: bool,
    /// Remove the container when its program has ended.
    #[arg(long)]
    pub rm: bool,
    /// Rotate a background container's log at this size.
    #[arg(long, value_name = "SIZE", value_parser = parse::size, default_value = LOG_SIZE)]
    log_max_size: u64,
    /// Keep so many files of a background container's log.
    #[arg(long, value_name = "COUNT", default_value_t = LOG_FILES)]
    log_max_files: u32,
    /// What `create` takes too.
    #[command(flatten)]
    pub create: create::Args,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let client = Client::connect(global).await?;
    let container = launch::create(&client, &args.create).await?;
    let outcome = if args.detach {
        let stdio =
            Stdio::logged(&container, args.create.tty, args.log_max_size, args.log_max_files);
        background(&client, &container, stdio, args.rm, global).await.map(|()| None)
    } else {
        attached(&client, &container, args.interactive, args.create.tty, args.rm).await.map(Some)
    };
    match outcome {
        Ok(code) => Ok(code.map_or(ExitCode::SUCCESS, passed_on)),
        Err(error) => {
            // A container that never ran is of no use, one that runs on is left alone. The failure
            // is what is told.
            let _ = container::remove(&client, &container, args.rm).await;
            Err(error)
        }
    }
}

/// Runs the container's program with our own streams until it ends.
pub async fn attached(
    client: &Client,
    container: &Container,
    interactive: bool,
    tty: bool,
    remove: bool,
) -> Result<u32> {
    let pipes = Pipes::create(client.folder(), interactive, tty)?;
    let ends = pipes.open()?;
    launch::create_task(client, container, Stdio::piped(&pipes)).await?;
    let program = Program { container: container.id.clone(), exec: String::new() };
    let start = async { launch::start(client, &container.id, "").await.map(|_| ()) };
    let code = foreground(client, &program, &pipes, ends, start).await?;
    let cleaned = if remove {
        container::remove(client, container, true).await
    } else {
        container::forget_task(client, container).await
    };
    // The program's own exit code is worth more than this.
    if let Err(error) = cleaned {
        eprintln!("berth: {}", crate::client::told(&error));
    }
    Ok(code)
}

/// Starts the container's program and lets it go.
async fn background(
    client: &Client,
    container: &Container,
    stdio: Stdio,
    remove: bool,
    global: &Global,
) -> Result<()> {
    launch::create_task(client, container, stdio).await?;
    let reaper = if remove { Some(reaper(container, global)?) } else { None };
    launch::start(client, &container.id, "").await?;
    drop(reaper);
    if global.json {
        return output::json(&serde_json::json!({ "id": container.id }));
    }
    output::line(&container.id)
}

/// A process that outlives this one, waits for the container's end and removes it.
fn reaper(container: &Container, global: &Global) -> Result<tokio::process::Child> {
    let doing = || format!("start what is to remove container {}", container.id);
    let program = std::env::current_exe().with_context(doing)?;
    let mut command = berth_lifecycle::child::command(program);
    command.arg("--address").arg(&global.address).args(["--namespace", global.namespace()]);
    command.args(["reap", &container.id]).process_group(0).kill_on_drop(false);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.spawn().with_context(doing)
}
