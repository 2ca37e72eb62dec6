//! Sessions of real processes and real TCP connections.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;

use berth_streaming::{Forwarded, Input, Outcome, Output, Sessions, Sizes, Streams};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs commands on this machine, and connects to its ports.
pub struct Processes;

impl Sessions for Processes {
    type What = ();

    async fn exec(&self, (): (), command: Vec<String>, streams: Streams) -> Outcome {
        let run = if streams.sizes.is_some() {
            on_a_terminal(&command, streams).await
        } else {
            with_pipes(&command, streams).await
        };
        run.unwrap_or_else(|failure| Outcome::Failed(failure.to_string()))
    }

    /// Sends back what it gets.
    async fn attach(&self, (): (), streams: Streams) -> Outcome {
        let (mut stdin, mut stdout) = (streams.stdin.unwrap(), streams.stdout.unwrap());
        stdout.write_all(b"attached\n").await.unwrap();
        match tokio::io::copy(&mut stdin, &mut stdout).await {
            Ok(_) => Outcome::Exited(0),
            Err(failure) => Outcome::Failed(failure.to_string()),
        }
    }

    async fn port_forward(
        &self,
        _: Arc<()>,
        port: u16,
        mut stream: Forwarded,
    ) -> Result<(), String> {
        let mut there = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|failure| format!("failed to connect to localhost:{port}: {failure}"))?;
        match tokio::io::copy_bidirectional(&mut stream, &mut there).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.to_string()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the commands of the tests' sessions")]
fn described(command: &[String]) -> Command {
    let (program, args) = command.split_first().unwrap();
    let mut described = Command::new(program);
    described.args(args).kill_on_drop(true);
    described
}

async fn feed(input: Option<Input>, to: Option<tokio::process::ChildStdin>) {
    if let (Some(mut input), Some(mut to)) = (input, to) {
        // A command that reads no more, or a client that is gone: both end the copy.
        let _ = tokio::io::copy(&mut input, &mut to).await;
    }
}

async fn drain(from: Option<impl tokio::io::AsyncRead + Unpin>, to: Option<Output>) {
    if let (Some(mut from), Some(mut to)) = (from, to)
        && tokio::io::copy(&mut from, &mut to).await.is_err()
    {
        // The client is gone; the command goes on.
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
}

async fn with_pipes(command: &[String], streams: Streams) -> std::io::Result<Outcome> {
    let pipe = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
    let mut child = described(command)
        .stdin(pipe(streams.stdin.is_some()))
        .stdout(pipe(streams.stdout.is_some()))
        .stderr(pipe(streams.stderr.is_some()))
        .spawn()?;
    let outputs = futures::future::join(
        drain(child.stdout.take(), streams.stdout),
        drain(child.stderr.take(), streams.stderr),
    );
    let fed = feed(streams.stdin, child.stdin.take());
    let ended = async { futures::future::join(child.wait(), outputs).await.0 };
    tokio::pin!(ended);
    let status = tokio::select! {
        status = &mut ended => status,
        () = fed => ended.await,
    };
    Ok(Outcome::Exited(status?.code().unwrap_or(137)))
}

async fn follow(sizes: Option<Sizes>, terminal: OwnedFd) {
    let Some(mut sizes) = sizes else { return };
    while let Some(size) = sizes.next().await {
        let size = Winsize { ws_col: size.width, ws_row: size.height, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
    }
}

async fn on_a_terminal(command: &[String], streams: Streams) -> std::io::Result<Outcome> {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    let name = ptsname(&terminal, Vec::new())?;
    let end = fs_err::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap())?;
    let file = |fd: &OwnedFd| fd.try_clone().map(|fd| tokio::fs::File::from_std(fd.into()));
    let (from, mut to) = (file(&terminal)?, file(&terminal)?);
    let slave = || end.file().try_clone().map(Stdio::from);
    let words: Vec<String> = ["setsid", "--ctty", "--wait"]
        .into_iter()
        .map(str::to_owned)
        .chain(command.iter().cloned())
        .collect();
    let mut child = described(&words).stdin(slave()?).stdout(slave()?).stderr(slave()?).spawn()?;
    // Open only in the child, so that its end is the terminal's.
    drop(end);
    let mut stdin = streams.stdin;
    let fed = async {
        if let Some(stdin) = &mut stdin {
            let _ = tokio::io::copy(stdin, &mut to).await;
        }
        std::future::pending::<()>().await
    };
    let followed = async {
        follow(streams.sizes, terminal).await;
        std::future::pending::<()>().await
    };
    let output = drain(Some(from), streams.stdout);
    let ended = async { futures::future::join(child.wait(), output).await.0 };
    let status = tokio::select! {
        status = ended => status,
        () = fed => unreachable!(),
        () = followed => unreachable!(),
    };
    Ok(Outcome::Exited(status?.code().unwrap_or(137)))
}
