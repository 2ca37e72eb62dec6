//! Putting a process's streams together.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Gid, Uid};
use tokio::net::unix::pipe;
use tokio::task::JoinSet;

use super::attach::{Attach, Hub, Place, To};
use super::console::Console;
use super::copy;
use super::cri::{CriLog, Partial};
use super::held::{Held, Speaker, full};
use super::keeping::{Keeping, Source};
use super::logger::Logger;
use super::sink::{Log, Sink};
use super::target::{CriTarget, Stdio, Target};
use crate::children::Children;
use crate::{Error, log};

/// Whose streams they are, and who may open the pipes.
pub(crate) struct Owner<'a> {
    pub namespace: &'a str,
    /// The container's, or the exec's.
    pub id: &'a str,
    pub uid: u32,
    pub gid: u32,
    pub children: Arc<Children>,
}

/// What runs and what is held open for a process's streams.
#[derive(Default)]
pub(crate) struct Streams {
    outputs: JoinSet<()>,
    /// Those of them that are kept in a log.
    kept: Vec<Arc<Keeping>>,
    /// Outputs that are not copied yet: see [`Streams::begin`].
    waiting: Vec<Held>,
    input: JoinSet<()>,
    /// Keeps a standard input open that a client detached from.
    stdin: Option<File>,
    console: Option<Console>,
    logger: Option<Logger>,
    attach: Option<Attach>,
}

/// Two outputs and what has to be kept for them.
#[derive(Default)]
struct Outputs {
    stdout: Option<Sink>,
    stderr: Option<Sink>,
    logger: Option<Logger>,
    /// Where clients hear them.
    heard: Option<(Place, Arc<Hub>)>,
}

impl Outputs {
    fn both(stdout: Sink, stderr: Sink) -> Outputs {
        Outputs { stdout: Some(stdout), stderr: Some(stderr), ..Outputs::default() }
    }

    /// Whether clients that attach are to have a part in standard input.
    fn speaks(&self) -> bool {
        self.heard.as_ref().is_some_and(|(place, _)| place.stdin.is_some())
    }
}

/// Makes the pipes of a process without a terminal; what it prints is read from [`Streams::begin`] on.
pub(crate) async fn prepare(
    stdio: &Stdio,
    owner: &Owner<'_>,
) -> Result<(Streams, [std::process::Stdio; 3]), Error> {
    let mut streams = Streams::default();
    let outputs = outputs(stdio, owner).await?;
    let mut to = None;
    let stdin = if !stdio.stdin.is_empty() {
        let (to, from) = pipe::pipe().map_err(Error::io("make pipe for stdin"))?;
        let end = own(from.into_blocking_fd(), owner)?;
        let fifo = streams.open_stdin(&stdio.stdin)?;
        streams.input.spawn(async move { copy::input(fifo, to).await });
        end.into()
    } else if outputs.speaks() {
        let (sender, from) = pipe::pipe().map_err(Error::io("make pipe for stdin"))?;
        to = Some(To::Pipe(sender));
        own(from.into_blocking_fd(), owner)?.into()
    } else {
        std::process::Stdio::null()
    };
    streams.attach = listen(outputs.heard, to)?;
    streams.logger = outputs.logger;
    let stdout = streams.output(outputs.stdout, owner, "stdout")?;
    let stderr = streams.output(outputs.stderr, owner, "stderr")?;
    Ok((streams, [stdin, stdout, stderr]))
}

/// Starts copying to and from a terminal.
pub(crate) async fn attach_console(
    stdio: &Stdio,
    owner: &Owner<'_>,
    console: Console,
) -> Result<Streams, Error> {
    let mut streams = Streams::default();
    let outputs = outputs(stdio, owner).await?;
    if !stdio.stdin.is_empty() {
        let fifo = streams.open_stdin(&stdio.stdin)?;
        let to = console.clone();
        streams.input.spawn(async move { copy::input(fifo, to).await });
    }
    let to = outputs.speaks().then(|| To::Console(console.clone()));
    streams.attach = listen(outputs.heard, to)?;
    streams.logger = outputs.logger;
    if let Some(sink) = outputs.stdout {
        streams.copy(Source::Console(console.clone()), sink, owner.id.to_owned(), Vec::new());
    }
    streams.console = Some(console);
    Ok(streams)
}

fn listen(heard: Option<(Place, Arc<Hub>)>, to: Option<To>) -> Result<Option<Attach>, Error> {
    heard.map(|(place, hub)| Attach::open(&place, hub, to)).transpose()
}

async fn outputs(stdio: &Stdio, owner: &Owner<'_>) -> Result<Outputs, Error> {
    Ok(match Target::parse(&stdio.stdout)? {
        Target::Null => Outputs { stderr: sink(&stdio.stderr)?, ..Outputs::default() },
        Target::Path(path) => {
            let (stdout, stderr) = (Some(Sink::open(&path)?), sink(&stdio.stderr)?);
            Outputs { stdout, stderr, ..Outputs::default() }
        }
        Target::File(path) => {
            let file = Arc::new(create(&path)?);
            Outputs::both(Sink::file(file.clone()), Sink::file(file))
        }
        Target::Cri { log, attach } => cri(log, attach, stdio)?,
        Target::Program { path, args, strict } => {
            let of = (owner.namespace, owner.id);
            let (logger, stdout, stderr) =
                Logger::start(&path, &args, strict, of, owner.children.clone()).await?;
            let both = Outputs::both(Sink::Pipe(stdout), Sink::Pipe(stderr));
            Outputs { logger: Some(logger), ..both }
        }
    })
}

fn cri(log: Option<CriTarget>, place: Option<Place>, stdio: &Stdio) -> Result<Outputs, Error> {
    if place.as_ref().is_some_and(|place| place.stdin.is_some()) && !stdio.stdin.is_empty() {
        return Err(Error::Invalid {
            what: format!("stdin address {:?}", stdio.stdin),
            reason: "those who attach have a part in it already".into(),
        });
    }
    let log = log.map(|log| CriLog::open(&log.path, log.rotation, log.max_line)).transpose()?;
    let log = log.map(|log| Arc::new(Mutex::new(log)));
    let of = |stream| match &log {
        Some(log) => Log::Cri { log: log.clone(), stream, partial: Partial::default() },
        None => Log::Discarded,
    };
    let heard = place.map(|place| (place, Arc::new(Hub::default())));
    let hub = heard.as_ref().map(|(_, hub)| hub);
    let stdout = Sink::Log(of("stdout"), hub.map(Hub::stdout));
    let stderr = Sink::Log(of("stderr"), hub.map(Hub::stderr));
    Ok(Outputs { heard, ..Outputs::both(stdout, stderr) })
}

/// Standard error's own address, when standard output's does not say it for both.
fn sink(address: &str) -> Result<Option<Sink>, Error> {
    match Target::parse(address)? {
        Target::Null => Ok(None),
        Target::Path(path) => Sink::open(&path).map(Some),
        Target::File(path) => Ok(Some(Sink::file(Arc::new(create(&path)?)))),
        Target::Cri { .. } | Target::Program { .. } => Err(Error::Invalid {
            what: format!("stderr address {address:?}"),
            reason: "give it for stdout, it takes both".into(),
        }),
    }
}

fn create(path: &Path) -> Result<File, Error> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    File::options()
        .create(true)
        .append(true)
        .mode(0o644)
        .open(path)
        .map_err(Error::io(format!("open {}", path.display())))
}

/// Gives a pipe's end to the user whom the process runs as, so that it may reopen it by name.
fn own(end: std::io::Result<OwnedFd>, owner: &Owner<'_>) -> Result<OwnedFd, Error> {
    let end = end.map_err(Error::io("make pipe"))?;
    if (owner.uid, owner.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::fchown(end.as_fd(), Some(uid), Some(gid))
            .map_err(|errno| Error::io("give pipe to its user")(errno.into()))?;
    }
    Ok(end)
}

impl Streams {
    fn output(
        &mut self,
        sink: Option<Sink>,
        owner: &Owner<'_>,
        name: &str,
    ) -> Result<std::process::Stdio, Error> {
        let Some(sink) = sink else { return Ok(std::process::Stdio::null()) };
        let (to, from) = pipe::pipe().map_err(Error::io(format!("make pipe for {name}")))?;
        let end = own(to.into_blocking_fd(), owner)?;
        self.waiting.push(Held::new(from, sink, format!("{} {name}", owner.id)));
        Ok(end.into())
    }

    /// Has runc work, and copies what the process prints once it has. Until then runc itself is at the other end
    /// of the pipes: what that says of a failure is in its answer, and is read here and dropped.
    pub(crate) async fn begin(
        mut self,
        speaker: Speaker,
        runc: impl Future<Output = Result<(), Error>>,
    ) -> Result<Self, Error> {
        let mut runc = std::pin::pin!(runc);
        let mut waiting = std::mem::take(&mut self.waiting);
        loop {
            tokio::select! {
                biased;
                done = &mut runc => break done?,
                place = full(&mut waiting, speaker) => self.go_on(waiting.swap_remove(place)),
            }
        }
        waiting.into_iter().for_each(|held| self.go_on(held));
        Ok(self)
    }

    /// Copies what was kept back of an output, and all that follows.
    fn go_on(&mut self, held: Held) {
        held.account();
        let Held { from, sink, name, said, .. } = held;
        self.copy(Source::Pipe(from), sink, name, said);
    }

    fn copy(&mut self, from: Source, sink: Sink, name: String, said: Vec<u8>) {
        match (from, sink) {
            (Source::Pipe(from), Sink::Pipe(to)) => {
                self.outputs.spawn(copy::output(said, from, to, name));
            }
            (Source::Console(from), Sink::Pipe(to)) => {
                self.outputs.spawn(copy::output(said, from, to, name));
            }
            (from, Sink::Log(log, tap)) => {
                let keeping = Arc::new(Keeping::new(from, log, tap, name));
                keeping.put(&said);
                self.kept.push(keeping.clone());
                self.outputs.spawn(async move { keeping.copy().await });
            }
        }
    }

    /// Puts into their logs what a process has printed that has ended: whoever is told of the end
    /// finds it there.
    pub(crate) fn catch_up(&self) {
        self.kept.iter().for_each(|kept| kept.catch_up());
    }

    /// Opens a client's pipe for reading, and holds it open for writing.
    fn open_stdin(&mut self, path: &str) -> Result<pipe::Receiver, Error> {
        let step = || Error::io(format!("open stdin {path}"));
        let fifo = pipe::OpenOptions::new().open_receiver(path).map_err(step())?;
        let flags = OFlags::NONBLOCK.bits() as i32;
        let hold = File::options().write(true).custom_flags(flags).open(path).map_err(step())?;
        self.stdin = Some(hold);
        Ok(fifo)
    }

    /// Lets standard input end when the client's side has.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
        if let Some(attach) = &self.attach {
            attach.close_stdin();
        }
    }

    pub(crate) fn console(&self) -> Option<&Console> {
        self.console.as_ref()
    }

    /// Waits until all output has been copied, for at most `bound`, and ends what is left.
    pub(crate) async fn drain(mut self, bound: Duration, id: &str) {
        self.input.shutdown().await;
        self.close_stdin();
        self.console = None;
        let copied = async { while self.outputs.join_next().await.is_some() {} };
        if tokio::time::timeout(bound, copied).await.is_err() {
            log::warn(format_args!("output of {id} is still open after {bound:?}; it is cut off"));
        }
        self.outputs.shutdown().await;
        if let Some(attach) = self.attach {
            attach.close().await;
        }
        if let Some(logger) = self.logger
            && let Err(error) = logger.end().await
        {
            log::warn(format_args!("end log program of {id}: {error}"));
        }
    }
}
