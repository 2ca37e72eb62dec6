//! The streams of a command.

use std::pin::Pin;
use std::time::Duration;

use berth_streaming::{Asked, Input, Output, Size, Sizes, Streams};
use tokio::io::{AsyncWriteExt, copy};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::Result;
use crate::containers::{Command, Container, Containers, Wanted};

/// How long outputs that others hold open are read on when the command has ended.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs a command with a client's streams, to its end: a client that goes does not end it, but its input.
///
/// # Errors
/// As those of [`Containers::command`].
pub(super) async fn run(
    containers: &Containers,
    container: &Container,
    args: Vec<String>,
    asked: Asked,
    streams: Streams,
) -> Result<i32> {
    let Asked { stdin, stdout, stderr, tty } = asked;
    let wanted = Wanted { stdin, stdout: stdout || tty, stderr: stderr && !tty, tty };
    let (command, mut ends, process) = containers.command(container, args, wanted).await?;
    let ran = async {
        let Streams { stdin, stdout, stderr, sizes, gone } = streams;
        let (out, err) = (ends.stdout.take(), ends.stderr.take());
        let outputs = async { tokio::join!(output(out, stdout), output(err, stderr)) };
        let mut outputs = std::pin::pin!(outputs);
        // They are read before the start is told: what is printed by then may be more than a pipe holds.
        let mut drained = false;
        beside(outputs.as_mut(), &mut drained, command.start(&mut ends, &process)).await?;
        let typed = async {
            let input = async {
                if let (Some(from), Some(to)) = (stdin, ends.stdin.take()) {
                    input(from, to, &gone).await;
                    // One that cannot be closed has ended.
                    let _ = command.close_input().await;
                }
            };
            tokio::join!(input, resize(&command, sizes))
        };
        let mut typed = std::pin::pin!(typed);
        let mut waiting = std::pin::pin!(command.wait(None));
        let mut told = false;
        let code = loop {
            tokio::select! {
                code = &mut waiting => break code,
                _ = &mut outputs, if !drained => drained = true,
                _ = &mut typed, if !told => told = true,
            }
        };
        if !drained {
            // Who holds an output open beyond that keeps nobody.
            let _ = timeout(DRAIN, &mut outputs).await;
        }
        code
    };
    let ran = ran.await;
    command.clear_away().await;
    ran
}

/// Does some work while the outputs are read, which may come to their end meanwhile.
async fn beside<T>(
    mut outputs: Pin<&mut impl Future>,
    drained: &mut bool,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = &mut outputs, if !*drained => *drained = true,
        }
    }
}

/// What a client types, until it has typed all or is gone.
async fn input(mut from: Input, mut to: pipe::Sender, gone: &tokio_util::sync::CancellationToken) {
    // A command that has closed its input takes no more.
    let _ = gone.run_until_cancelled(copy(&mut from, &mut to)).await;
}

/// What a command prints. What nobody reads is dropped, so that it is never held up.
pub(super) async fn output(from: Option<pipe::Receiver>, to: Option<Output>) {
    let Some(mut from) = from else { return };
    if let Some(mut to) = to {
        let copied = copy(&mut from, &mut to).await;
        // The client's end may be gone already.
        let _ = to.shutdown().await;
        if copied.is_ok() {
            return;
        }
    }
    let _ = copy(&mut from, &mut tokio::io::sink()).await;
}

async fn resize(command: &Command, sizes: Option<Sizes>) {
    let Some(mut sizes) = sizes else { return };
    while let Some(Size { width, height }) = sizes.next().await {
        if let Err(error) = command.resize(width, height).await {
            tracing::debug!(error = berth_errors::chain(&error), "resize a command's terminal");
        }
    }
}
