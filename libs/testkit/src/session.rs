//! A command that is talked to while it runs, through pipes or on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::{Run, command, program};

/// How long a command may take to say or do what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running command. Killed when dropped.
#[derive(Debug)]
pub struct Session {
    line: String,
    child: Child,
    input: Input,
    printed: Arc<Printed>,
}

#[derive(Debug)]
enum Input {
    Pipe(Option<ChildStdin>),
    Terminal(File),
}

/// All that the command printed so far, and whether it may print more.
#[derive(Debug, Default)]
struct Printed {
    text: Mutex<(Vec<u8>, usize)>,
    changed: Condvar,
}

impl Session {
    /// Starts a command with pipes; both outputs are read as one.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(run: Run) -> Result<Self> {
        let (mut command, line) = run.into_parts();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start `{line}`"))?;
        let printed = Arc::new(Printed::default());
        let stdout = child.stdout.take().context("child has no standard output")?;
        let stderr = child.stderr.take().context("child has no standard error")?;
        Printed::read(&printed, stdout);
        Printed::read(&printed, stderr);
        let input = Input::Pipe(child.stdin.take());
        Ok(Self { line, child, input, printed })
    }

    /// Starts a command on a terminal of its own, which it controls.
    ///
    /// # Errors
    /// When there is no terminal to be had or the command can't be started.
    pub fn on_terminal(run: Run, rows: u16, columns: u16) -> Result<Self> {
        let (ours, theirs) = open_terminal()?;
        set_size(&ours, rows, columns)?;
        let (wanted, line) = run.into_parts();
        // A controlling terminal is given between fork and exec, which setsid(1) does for us.
        let (mut command, _) = program("setsid").args(["--ctty"]).into_parts();
        command.arg(wanted.get_program()).args(wanted.get_args());
        for (key, value) in wanted.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let child = command
            .stdin(theirs.try_clone()?)
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .spawn()
            .with_context(|| format!("start `{line}`"))?;
        let printed = Arc::new(Printed::default());
        Printed::read(&printed, File::from(ours.try_clone()?));
        Ok(Self { line, child, input: Input::Terminal(ours.into()), printed })
    }

    /// All that it printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().0).into_owned()
    }

    /// Waits until it has printed `text`.
    ///
    /// # Errors
    /// When it ends or a minute passes before; with all that it printed.
    pub fn expect(&self, text: &str) -> Result<()> {
        let has = |printed: &[u8]| printed.windows(text.len()).any(|part| part == text.as_bytes());
        if self.printed.wait(|(printed, _)| has(printed)) {
            return Ok(());
        }
        bail!("`{}` did not print {text:?} but {:?}", self.line, self.printed())
    }

    /// Types `text`.
    ///
    /// # Errors
    /// When it reads no more.
    pub fn write(&mut self, text: &str) -> Result<()> {
        let doing = || format!("write to `{}`", self.line);
        match &mut self.input {
            Input::Pipe(Some(pipe)) => pipe.write_all(text.as_bytes()).with_context(doing),
            Input::Pipe(None) => bail!("the input of `{}` is closed", self.line),
            Input::Terminal(file) => file.write_all(text.as_bytes()).with_context(doing),
        }
    }

    /// Closes its input. A terminal has no end.
    pub fn close_input(&mut self) {
        if let Input::Pipe(pipe) = &mut self.input {
            *pipe = None;
        }
    }

    /// Changes the size of its terminal.
    ///
    /// # Errors
    /// When it has none.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        match &self.input {
            Input::Terminal(file) => set_size(file, rows, columns),
            Input::Pipe(_) => bail!("`{}` has no terminal", self.line),
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        crate::processes::signal(self.child.id(), signal)
    }

    /// Waits for its end, at most a minute; answers its exit code as a shell has it.
    ///
    /// # Errors
    /// When it does not end; with all that it printed.
    pub fn end(&mut self) -> Result<i32> {
        self.close_input();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                // What is still on its way belongs to it.
                let readers = usize::from(matches!(self.input, Input::Pipe(_)));
                self.printed.wait(|(_, ended)| *ended > readers);
                return Ok(command::code_of(status));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("`{}` did not end, it printed {:?}", self.line, self.printed())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Printed {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<u8>, usize)> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads on a thread until the end, which a terminal tells by an error.
    fn read(this: &Arc<Self>, mut from: impl Read + Send + 'static) {
        let this = this.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = from.read(&mut buffer).unwrap_or(0);
                let mut printed = this.lock();
                printed.0.extend_from_slice(&buffer[..read]);
                printed.1 += usize::from(read == 0);
                drop(printed);
                this.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
    }

    /// Waits until `enough`; false when a minute passed before.
    fn wait(&self, enough: impl Fn(&(Vec<u8>, usize)) -> bool) -> bool {
        let more = |printed: &mut (Vec<u8>, usize)| !enough(printed);
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, more);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

fn open_terminal() -> Result<(OwnedFd, OwnedFd)> {
    let doing = "open a terminal";
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags).context(doing)?;
    rustix::pty::grantpt(&ours).context(doing)?;
    rustix::pty::unlockpt(&ours).context(doing)?;
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags).context(doing)?;
    Ok((ours, theirs))
}

fn set_size(terminal: impl std::os::fd::AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).context("set the terminal's size")
}
