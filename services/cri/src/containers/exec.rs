//! A command within a container that is waited for, with what it printed.
//!
//! Invariants: what is printed beyond [`MOST`] is read and dropped, and said so; a process that the command has left
//! behind and that holds an output open ends nothing but its own stream; what is left of a command that cannot be taken
//! away is told, and goes with the container.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_proto::runtime::v1::ExecSyncResponse;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::command::Wanted;
use super::{Container, Containers, Shared};
use crate::{Error, Result};

/// The most of both outputs that is kept, in bytes: a kubelet takes messages of 16 MiB.
const MOST: usize = (16 << 20) - (64 << 10);
/// What is read at once.
const PIECE: usize = 32 << 10;

impl Containers {
    /// Runs a command in a container. A limit of 0 is none.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for a container that does not run; [`Error::Deadline`] when the limit
    /// has passed, after which it is killed; [`Error::Peer`] for one that does not start.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        limit: i64,
    ) -> Result<ExecSyncResponse> {
        let step = "failed to exec in container";
        let limit = u64::try_from(limit).ok().filter(|limit| *limit > 0).map(Duration::from_secs);
        let run = async {
            let unknown = format!("failed to find container {id:?} in store");
            let container = self.find(id).map_err(Error::within(unknown))?;
            let this = self.clone();
            // A caller that leaves ends the command.
            let left = CancellationToken::new();
            let _here = left.clone().drop_guard();
            let work = async move { this.0.exec(&container, command, limit, &left).await };
            self.to_the_end("exec-sync", work).await
        };
        run.await.map_err(Error::within(step))
    }
}

impl Shared {
    async fn exec(
        &self,
        container: &Container,
        args: Vec<String>,
        limit: Option<Duration>,
        left: &CancellationToken,
    ) -> Result<ExecSyncResponse> {
        let wanted = Wanted { stdout: true, stderr: true, ..Wanted::default() };
        let (command, mut ends, process) = self.command(container, args, wanted).await?;
        let run = async {
            let budget = Arc::new(AtomicUsize::new(MOST));
            let [stdout, stderr] = [ends.stdout.take(), ends.stderr.take()]
                .map(|pipe| pipe.map(|pipe| Reading::of(pipe, &budget)));
            command.start(&mut ends, &process).await?;
            let exit_code = match left.run_until_cancelled(command.wait(limit)).await {
                Some(exit_code) => exit_code,
                None => command.kill().await.and(Err(Error::NotReady)),
            };
            // How long outputs that are held open are read on.
            let longest = *self.parts.cri.drain_exec_sync_io_timeout;
            let over = async || match longest.is_zero() {
                true => left.cancelled().await,
                false => sleep(longest).await,
            };
            let (stdout, stderr) = tokio::join!(drained(stdout, over()), drained(stderr, over()));
            Ok::<_, Error>(ExecSyncResponse { stdout, stderr, exit_code: exit_code? })
        };
        let ran = run.await;
        command.clear_away().await;
        ran
    }
}

async fn drained(reading: Option<Reading>, over: impl Future<Output = ()>) -> Vec<u8> {
    match reading {
        Some(reading) => reading.drained(over).await,
        None => Vec::new(),
    }
}

/// An output that is read from before the command starts on, as that may print before its start is told.
struct Reading {
    read: Arc<Mutex<Read>>,
    task: JoinHandle<()>,
}

/// What was read of an output, and how much of it was dropped.
struct Read {
    kept: Vec<u8>,
    dropped: u64,
    /// How much more both outputs may have.
    budget: Arc<AtomicUsize>,
}

impl Reading {
    fn of(mut pipe: pipe::Receiver, budget: &Arc<AtomicUsize>) -> Self {
        let read = Read { kept: Vec::new(), dropped: 0, budget: budget.clone() };
        let read = Arc::new(Mutex::new(read));
        let into = read.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the command that it is of")]
        let task = tokio::spawn(async move {
            let mut piece = vec![0; PIECE];
            loop {
                match pipe.read(&mut piece).await {
                    Ok(0) | Err(_) => return,
                    Ok(length) => lock(&into).take(&piece[..length]),
                }
            }
        });
        Self { read, task }
    }

    /// What was printed, when the output has ended, or it is `over` while somebody else holds it open.
    async fn drained(mut self, over: impl Future<Output = ()>) -> Vec<u8> {
        tokio::select! {
            // How it ended says nothing: what was read is there.
            _ = &mut self.task => {}
            () = over => self.task.abort(),
        }
        let mut read = lock(&self.read);
        let (mut kept, dropped) = (std::mem::take(&mut read.kept), read.dropped);
        if dropped > 0 {
            kept.extend_from_slice(
                format!("\n[{dropped} more bytes of output were dropped]\n").as_bytes(),
            );
        }
        kept
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Read {
    fn take(&mut self, piece: &[u8]) {
        let fits = |left: usize| Some(left.saturating_sub(piece.len()));
        let left = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let fits = piece.len().min(left.unwrap_or_default());
        self.kept.extend_from_slice(&piece[..fits]);
        self.dropped += (piece.len() - fits) as u64;
    }
}

fn lock(read: &Mutex<Read>) -> MutexGuard<'_, Read> {
    // Nothing that can panic stands between changes under this lock.
    read.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn an_output_that_is_held_open_is_read_until_it_is_over() {
        let (mut held, pipe) = pipe::pipe().unwrap();
        let reading = Reading::of(pipe, &Arc::new(AtomicUsize::new(MOST)));
        held.write_all(b"said").await.unwrap();
        let read = reading.read.clone();
        let over = async {
            while lock(&read).kept.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(reading.drained(over).await, b"said");
        // One that ends is not waited for any longer.
        let (held, pipe) = pipe::pipe().unwrap();
        let reading = Reading::of(pipe, &Arc::new(AtomicUsize::new(MOST)));
        drop(held);
        assert_eq!(reading.drained(std::future::pending()).await, b"");
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        let budget = Arc::new(AtomicUsize::new(100));
        let read = || Read { kept: Vec::new(), dropped: 0, budget: budget.clone() };
        let (mut one, mut other) = (read(), read());
        one.take(&[1; 60]);
        other.take(&[2; 50]);
        one.take(&[3; 10]);
        assert_eq!((one.kept.len(), one.dropped), (60, 10));
        assert_eq!((other.kept.len(), other.dropped), (40, 10));
    }
}
