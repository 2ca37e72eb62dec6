//! `berth exec`

use std::process::ExitCode;

use anyhow::{Context, Result};
use berth_proto::containerd::services::containers::v1::Container;
use berth_proto::containerd::services::tasks::v1::{DeleteProcessRequest, ExecProcessRequest};
use berth_runtime_spec::{Options, PROCESS_TYPE_URL, exec_process};
use prost_types::Any;

use crate::attach::{Pipes, Program, foreground};
use crate::client::{Client, Step};
use crate::container;
use crate::global::Global;
use crate::launch::{self, Stdio};
use crate::options;
use crate::root::look;
use crate::verbs::passed_on;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run in the background; what the program writes is lost.
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,
    /// Give the program what is typed here.
    #[arg(short, long)]
    interactive: bool,
    /// Give the program a terminal.
    #[arg(short, long)]
    tty: bool,
    /// Set a variable; without =VALUE it is taken from here.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The user to run as, instead of the container's.
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    user: Option<String>,
    /// Where the program starts.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Give the program all capabilities.
    #[arg(long)]
    privileged: bool,
    /// The container.
    container: String,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let client = Client::connect(global).await?;
    let record = container::get(&client, &args.container).await?;
    container::running(&client, &record.id).await?;
    let spec = process(&client, &record, &args).await?;
    let program = Program {
        container: record.id.clone(),
        exec: format!("exec-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]),
    };
    if args.detach {
        add(&client, &program, spec, Stdio::default()).await?;
        started(&client, &program).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let pipes = Pipes::create(client.folder(), args.interactive, args.tty)?;
    let ends = pipes.open()?;
    add(&client, &program, spec, Stdio::piped(&pipes)).await?;
    let start = started(&client, &program);
    let code = foreground(&client, &program, &pipes, ends, start).await?;
    forget(&client, &program).await?;
    Ok(passed_on(code))
}

/// The process to run, after the container's own.
async fn process(client: &Client, record: &Container, args: &Args) -> Result<Any> {
    let doing = || format!("prepare a program for container {}", record.id);
    let spec = container::spec(record)?;
    let own = spec.process().as_ref();
    let own = own.with_context(|| format!("container {} has no process", record.id))?;
    let mut env = Vec::new();
    for entry in &args.env {
        env.extend(options::variable(entry)?);
    }
    let options = Options {
        args: args.command.clone(),
        env,
        cwd: args.workdir.clone(),
        user: args.user.clone(),
        terminal: args.tty,
        privileged: args.privileged,
        ..Default::default()
    };
    let mounts = match &args.user {
        Some(_) => container::mounts(client, record).await?,
        None => Vec::new(),
    };
    let process = look(client, &mounts, |root| Ok(exec_process(own, &options, root)?)).await;
    let process = process.with_context(doing)?;
    let value = serde_json::to_vec(&process).with_context(doing)?;
    Ok(Any { type_url: PROCESS_TYPE_URL.to_owned(), value })
}

async fn add(client: &Client, program: &Program, spec: Any, stdio: Stdio) -> Result<()> {
    let request = ExecProcessRequest {
        container_id: program.container.clone(),
        exec_id: program.exec.clone(),
        stdin: stdio.stdin,
        stdout: stdio.stdout,
        stderr: stdio.stderr,
        terminal: stdio.terminal,
        spec: Some(spec),
    };
    let answer = client.tasks().exec(client.request(request)).await;
    answer.step(|| format!("add a program to container {}", program.container)).map(|_| ())
}

/// Starts the program; one that does not start is forgotten.
async fn started(client: &Client, program: &Program) -> Result<()> {
    let outcome = launch::start(client, &program.container, &program.exec).await;
    if outcome.is_err() {
        // The failure itself is what is told.
        let _ = forget(client, program).await;
    }
    outcome.map(|_| ())
}

async fn forget(client: &Client, program: &Program) -> Result<()> {
    let request = DeleteProcessRequest {
        container_id: program.container.clone(),
        exec_id: program.exec.clone(),
    };
    let answer = client.tasks().delete_process(client.request(request)).await.optional();
    answer.step(|| format!("forget the program in container {}", program.container)).map(|_| ())
}
