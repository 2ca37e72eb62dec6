//! Running stream processors beside whoever reads what they write.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use berth_lifecycle::child;
use futures::future::join_all;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::sync::oneshot;

use super::{Chain, Payloads, Step};
use crate::Error;

/// Tells a program what it was chosen for.
const MEDIA_TYPE: &str = "STREAM_PROCESSOR_MEDIATYPE";

/// The descriptor that a program finds its payload on.
const PAYLOAD: i32 = 3;

/// What a shell ends with whose program was ended by SIGPIPE.
const OF_BROKEN_PIPE: i32 = 128 + 13;

/// What is kept of a program's standard error.
const MOST_SAID: usize = 16 << 10;

/// How long programs may go on after what they write is read no more.
const GRACE: Duration = Duration::from_secs(10);

/// Runs `work` on what the programs of `chain` make of `input`. They run at the same time, and
/// end with this call: when it is given up they are killed.
///
/// # Errors
/// [`Error::Processor`] for a program that failed, what `work` answers.
pub async fn through<T, W>(
    chain: Chain,
    payloads: &Payloads,
    input: File,
    work: impl FnOnce(File) -> W,
) -> Result<T, Error>
where
    W: Future<Output = Result<T, Error>>,
{
    let mut programs = Vec::new();
    let mut input = input;
    for step in &chain.steps {
        let (program, output) = start(&chain.layer, step, payloads, input)?;
        programs.push(program);
        input = output;
    }
    if programs.is_empty() {
        return work(input).await;
    }
    let (reading, read) = oneshot::channel::<()>();
    let work = async {
        let made = work(input).await;
        drop(reading);
        made
    };
    match tokio::join!(work, ends(programs, read)) {
        // What did not look like a layer is the failing program's doing, which says why.
        (Err(made), Err(failure)) if !made.is_of_input() || !failure.said_itself() => Err(made),
        (Err(made), Err(failure)) => Err(failure.beside(&made)),
        (made, ends) => ends.and(made),
    }
}

/// A program that runs.
struct Program {
    layer: String,
    id: String,
    path: String,
    child: Child,
}

fn start(
    layer: &str,
    step: &Step,
    payloads: &Payloads,
    input: File,
) -> Result<(Program, File), Error> {
    let Step { processor, accepted } = step;
    let path = processor.path.to_string_lossy().into_owned();
    let failed = |source: io::Error| Error::Processor {
        layer: layer.to_owned(),
        id: processor.id.clone(),
        path: path.clone(),
        status: None,
        said: format!("start: {source}"),
    };
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let mut command = child::command(&processor.path);
    command.args(&processor.args).envs(processor.env.iter().map(|(name, value)| (name, value)));
    command.env(MEDIA_TYPE, accepted);
    command.stdin(Stdio::from(input)).stdout(Stdio::from(writer)).stderr(Stdio::piped());
    if let Some(payload) = payloads.get(&processor.id) {
        child::pass_as(&mut command, memory(payload).map_err(failed)?, PAYLOAD);
    }
    let child = command.spawn().map_err(failed)?;
    let program = Program { layer: layer.to_owned(), id: processor.id.clone(), path, child };
    Ok((program, File::from(reader)))
}

/// A file in memory, to be read from its beginning.
fn memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("payload", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

/// Waits for the programs' ends, no longer than [`GRACE`] after `read` has ended. Of several that
/// failed the first is told that says so: others fail of it.
async fn ends(programs: Vec<Program>, read: oneshot::Receiver<()>) -> Result<(), Error> {
    let (layer, id, path) = match programs.last() {
        Some(last) => (last.layer.clone(), last.id.clone(), last.path.clone()),
        None => return Ok(()),
    };
    let late = async {
        let _ = read.await;
        tokio::time::sleep(GRACE).await;
    };
    let mut failures = tokio::select! {
        ends = join_all(programs.into_iter().map(Program::end)) => {
            ends.into_iter().filter_map(Result::err).collect::<Vec<_>>()
        }
        // Dropping the programs kills them.
        () = late => {
            let said = format!("it goes on {} s after its output was read", GRACE.as_secs());
            return Err(Error::Processor { layer, id, path, status: None, said });
        }
    };
    let first = failures.iter().position(Error::said_itself).unwrap_or(0);
    if failures.is_empty() { Ok(()) } else { Err(failures.swap_remove(first)) }
}

impl Program {
    /// Waits for its end, reading what it says.
    async fn end(mut self) -> Result<(), Error> {
        let stderr = self.child.stderr.take();
        let listen = async {
            let mut said = Vec::new();
            let Some(mut stderr) = stderr else { return said };
            let mut buffer = [0; 4096];
            // A program is not to be stopped by what nobody reads.
            while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
                let room = MOST_SAID - said.len();
                said.extend_from_slice(&buffer[..read.min(room)]);
            }
            said
        };
        let (said, status) = tokio::join!(listen, self.child.wait());
        let (status, said) = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => (Some(status), String::from_utf8_lossy(&said).trim_end().to_owned()),
            Err(error) => (None, format!("wait: {error}")),
        };
        Err(Error::Processor { layer: self.layer, id: self.id, path: self.path, status, said })
    }
}

impl Error {
    /// Whether it is what was read that is wrong.
    fn is_of_input(&self) -> bool {
        match self {
            Error::Malformed { .. } => true,
            Error::Layer { source, .. } => source.is_of_input(),
            _ => false,
        }
    }

    /// The same failure of a program, telling what was wrong with what it wrote.
    fn beside(self, made: &Error) -> Self {
        match self {
            Error::Processor { layer, id, path, status, said } => {
                let said = format!("{said} (of what it wrote: {})", berth_errors::chain(made));
                Error::Processor { layer, id, path, status, said }
            }
            other => other,
        }
    }

    /// Whether a program has failed by itself, not since somebody has stopped listening: of that a
    /// shell tells as of an exit.
    fn said_itself(&self) -> bool {
        match self {
            Error::Processor { status, .. } => {
                let code = status.as_ref().and_then(ExitStatus::code);
                code.is_some_and(|code| code != OF_BROKEN_PIPE)
            }
            _ => false,
        }
    }
}
