//! A program in the foreground: its pipes, the signals and the terminal.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_proto::containerd::services::tasks::v1::{
    CloseIoRequest, KillRequest, ResizePtyRequest, WaitRequest,
};
use rustix::fs::{CWD, FileType, Mode};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::{Client, Step};
use crate::terminal::{self, Raw};

/// How long output is read on after the program's end: a process that the program left behind may
/// hold the pipe open for ever.
const LAST_OUTPUT: Duration = Duration::from_secs(10);

/// How much is moved at once.
const PIECE: usize = 32 << 10;

/// Named pipes for one program, in a folder of their own that goes with this.
pub struct Pipes {
    dir: PathBuf,
    /// Whether the program reads what we are given.
    pub interactive: bool,
    /// Whether the program runs on a terminal.
    pub terminal: bool,
}

/// Our ends of the pipes.
pub struct Ends {
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: Option<pipe::Receiver>,
    /// Keeps the outputs from ending before the shim has opened its ends.
    hold: Vec<pipe::Sender>,
}

impl Pipes {
    /// Makes the pipes below `folder`.
    pub fn create(folder: &Path, interactive: bool, terminal: bool) -> Result<Self> {
        let dir = folder.join("fifo").join(uuid::Uuid::new_v4().simple().to_string());
        let doing = || format!("make pipes in {}", dir.display());
        fs_err::create_dir_all(&dir).with_context(doing)?;
        let pipes = Self { dir: dir.clone(), interactive, terminal };
        for name in pipes.names() {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(CWD, dir.join(name), FileType::Fifo, mode, 0)
                .with_context(doing)?;
        }
        Ok(pipes)
    }

    fn names(&self) -> Vec<&'static str> {
        let mut names = vec!["stdout"];
        names.extend(self.interactive.then_some("stdin"));
        names.extend((!self.terminal).then_some("stderr"));
        names
    }

    /// The path of one pipe, empty when the program does not have it.
    pub fn path(&self, name: &str) -> String {
        if self.names().contains(&name) {
            self.dir.join(name).to_string_lossy().into_owned()
        } else {
            String::new()
        }
    }

    /// Opens our ends; the program's ends need not be open yet.
    pub fn open(&self) -> Result<Ends> {
        let open = |name: &str| self.dir.join(name);
        let reader = |name: &str| {
            let path = open(name);
            pipe::OpenOptions::new().open_receiver(path).with_context(|| format!("open {name}"))
        };
        let writer = |name: &str| {
            let mut options = pipe::OpenOptions::new();
            // For reading too, or opening would need the other side to be there already.
            options.read_write(true).open_sender(open(name)).with_context(|| format!("open {name}"))
        };
        let outputs = self.names().into_iter().filter(|name| *name != "stdin");
        Ok(Ends {
            stdin: self.interactive.then(|| writer("stdin")).transpose()?,
            stdout: reader("stdout")?,
            stderr: (!self.terminal).then(|| reader("stderr")).transpose()?,
            hold: outputs.map(writer).collect::<Result<_>>()?,
        })
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // The folder is below the node's state, which goes with a restart of the machine.
        let _ = fs_err::remove_dir_all(&self.dir);
    }
}

/// A program by container and exec, the latter empty for the container's own.
#[derive(Clone)]
pub struct Program {
    /// The container.
    pub container: String,
    /// The exec.
    pub exec: String,
}

/// Runs a program in the foreground from its start to its end; gives its exit code.
///
/// `start` lets it go once everything is connected.
pub async fn foreground(
    client: &Client,
    program: &Program,
    pipes: &Pipes,
    mut ends: Ends,
    start: impl Future<Output = Result<()>>,
) -> Result<u32> {
    let raw = (pipes.terminal && pipes.interactive).then(Raw::enter).transpose()?;
    // From before the start: a program that runs is to have every signal that we get.
    let signals = Signals::listen()?;
    let mut hold = std::mem::take(&mut ends.hold);
    let mut tasks = client.tasks();
    let request =
        WaitRequest { container_id: program.container.clone(), exec_id: program.exec.clone() };
    let waiting = tasks.wait(client.patient(request));
    let watching = watch(client, program, pipes.terminal, signals);
    let feeding = feed(client, program, ends.stdin.take());
    let outputs = outputs(ends.stdout, ends.stderr);
    let (mut waiting, mut watching) = (pin!(waiting), pin!(watching));
    let (mut feeding, mut outputs) = (pin!(feeding), pin!(outputs));
    let mut starting = pin!(start);
    let (mut started, mut fed, mut written) = (false, false, false);
    let code = loop {
        tokio::select! {
            outcome = &mut starting, if !started => {
                outcome?;
                started = true;
                hold.clear();
            }
            answer = &mut waiting => {
                let ended = answer.step(|| format!("wait for {}", program.container))?;
                break ended.into_inner().exit_status;
            }
            outcome = &mut watching, if started => outcome?,
            outcome = &mut feeding, if started && !fed => {
                outcome?;
                fed = true;
            }
            outcome = &mut outputs, if !written => {
                outcome?;
                written = true;
            }
        }
    };
    drop(hold);
    if !started {
        // A program that did not start has ended too; why is in the answer to its start.
        starting.await?;
    }
    if !written {
        // What the pipes still hold comes at once; the shim closes them when it has copied all.
        if let Ok(outcome) = tokio::time::timeout(LAST_OUTPUT, outputs).await {
            outcome?;
        }
    }
    drop(raw);
    Ok(code)
}

/// Copies both outputs to their ends.
async fn outputs(stdout: pipe::Receiver, stderr: Option<pipe::Receiver>) -> Result<()> {
    let errors = async {
        match stderr {
            Some(stderr) => copy(stderr, tokio::io::stderr()).await,
            None => Ok(()),
        }
    };
    futures::try_join!(copy(stdout, tokio::io::stdout()), errors).map(|_| ())
}

async fn copy(mut from: pipe::Receiver, mut to: impl AsyncWrite + Unpin) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = from.read(&mut buffer).await.context("read the program's output")?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

/// Gives the program our standard input, then closes its own.
async fn feed(client: &Client, program: &Program, pipe: Option<pipe::Sender>) -> Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; PIECE];
    loop {
        let read = stdin.read(&mut buffer).await.context("read standard input")?;
        if read == 0 || pipe.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    drop(pipe);
    let request = CloseIoRequest {
        container_id: program.container.clone(),
        exec_id: program.exec.clone(),
        stdin: true,
    };
    let closed = client.tasks().close_io(client.request(request)).await;
    match closed {
        // A program that has ended meanwhile has no input left to close.
        Err(status) if !is_gone(&status) => Err(status).step(|| "close the input".to_owned()),
        _ => Ok(()),
    }
}

fn is_gone(status: &tonic::Status) -> bool {
    use tonic::Code;
    // Shims give what a state does not allow no code of its own.
    matches!(status.code(), Code::NotFound | Code::FailedPrecondition)
        || status.message().contains("cannot resize a stopped container")
}

/// The signals that are passed on, and the one that tells of the terminal's size.
struct Signals {
    passed_on: Vec<(i32, Signal)>,
    resized: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let kinds = [
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::terminate(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let listen = |kind: SignalKind| signal(kind).map(|signal| (kind.as_raw_value(), signal));
        let passed_on: Result<_, _> = kinds.into_iter().map(listen).collect();
        let resized = signal(SignalKind::window_change());
        let doing = "listen for signals";
        Ok(Self { passed_on: passed_on.context(doing)?, resized: resized.context(doing)? })
    }
}

/// Passes signals on and follows the terminal's size, for as long as it is polled.
async fn watch(
    client: &Client,
    program: &Program,
    terminal: bool,
    mut signals: Signals,
) -> Result<()> {
    if terminal {
        resize(client, program).await?;
    }
    loop {
        let received = signals.passed_on.iter_mut().map(|(number, signal)| {
            let number = *number;
            Box::pin(async move { signal.recv().await.map(|()| number) })
        });
        tokio::select! {
            (number, _, _) = futures::future::select_all(received) => {
                if let Some(number) = number { pass_on(client, program, number).await?; }
            }
            _ = signals.resized.recv() => if terminal { resize(client, program).await?; }
        }
    }
}

async fn pass_on(client: &Client, program: &Program, number: i32) -> Result<()> {
    let request = KillRequest {
        container_id: program.container.clone(),
        exec_id: program.exec.clone(),
        signal: number.unsigned_abs(),
        all: false,
    };
    match client.tasks().kill(client.request(request)).await {
        Err(status) if !is_gone(&status) => {
            Err(status).step(|| format!("pass signal {number} on to {}", program.container))
        }
        _ => Ok(()),
    }
}

async fn resize(client: &Client, program: &Program) -> Result<()> {
    let Some((width, height)) = terminal::size() else { return Ok(()) };
    let request = ResizePtyRequest {
        container_id: program.container.clone(),
        exec_id: program.exec.clone(),
        width,
        height,
    };
    match client.tasks().resize_pty(client.request(request)).await {
        Err(status) if !is_gone(&status) => {
            Err(status).step(|| format!("resize the terminal of {}", program.container))
        }
        _ => Ok(()),
    }
}
