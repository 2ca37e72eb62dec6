//! A shim that speaks gRPC: our own behind a process that hands every call on to it. It is for the
//! tests of runtime; all other shims that are to be had speak ttrpc.
//!
//! `start` starts ours and then itself once more, which serves for as long as ours does.

#![allow(clippy::disallowed_methods, reason = "it starts programs, as a shim does")]

mod face;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_proto::containerd::runtime::bootstrap::v1::BootstrapResult;
use prost::Message;

/// Until the shim takes a connection.
const CONNECT: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", shim, socket] => serve(shim.as_ref(), socket.as_ref()),
        [.., "start"] => start(&words),
        _ => Err(Command::new(shim()?).args(&words).exec()).context("become the shim"),
    }
}

/// Our shim's program, which lies beside this one.
fn shim() -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("containerd-shim-runc-v2"))
}

fn start(words: &[String]) -> Result<()> {
    let started = Command::new(shim()?).args(words).stdin(Stdio::inherit()).output()?;
    let why = String::from_utf8_lossy(&started.stderr);
    ensure!(started.status.success(), "{}: {}", why.trim(), started.status);
    let shim = BootstrapResult::decode(&*started.stdout).context("read the shim's answer")?;
    let socket = std::env::current_dir()?.join("grpc");
    let address = shim.address.trim_start_matches("unix://");
    let mut face = Command::new(std::env::current_exe()?)
        .args(["serve", address])
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let ready = face.stdout.take().context("the pipe")?.read_exact(&mut [0]);
    ready.context("wait until gRPC is served")?;
    let (address, protocol) = (format!("unix://{}", socket.display()), "grpc".to_owned());
    let result = BootstrapResult { address, protocol, ..shim };
    Ok(std::io::stdout().write_all(&result.encode_to_vec())?)
}

/// Serves until the shim is gone.
fn serve(shim: &Path, socket: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shim = berth_ttrpc::Client::connect(shim, CONNECT).await?;
        let jobs = berth_lifecycle::Tasks::new();
        berth_grpc::server::serve(socket, 0o600, face::routes(&shim), &jobs)?;
        std::io::stdout().write_all(b"1")?;
        std::io::stdout().flush()?;
        shim.closed().await;
        Ok(())
    })
}
