//! Running one command and saying everything about it when it fails.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long a client may take, unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a finished command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// The command as one line.
    pub line: String,
    /// Exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output of a command that has to succeed.
    ///
    /// # Errors
    /// The command, its code and all it printed.
    pub fn ok(self) -> Result<String> {
        if self.code == 0 { Ok(self.stdout) } else { bail!("{self}") }
    }

    /// All that was printed by a command that has to fail with `code`.
    ///
    /// # Errors
    /// The command, its code and all it printed.
    pub fn fails(self, code: i32) -> Result<String> {
        if self.code == code {
            Ok(format!("{}{}", self.stdout, self.stderr))
        } else {
            bail!("expected exit code {code}: {self}")
        }
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ended with {}\n{}{}", self.line, self.code, self.stdout, self.stderr)
    }
}

/// A command under construction: program, arguments, environment, input.
#[derive(Debug)]
pub struct Run {
    command: Command,
    line: String,
    patience: Duration,
}

/// Starts describing a command: a name on PATH or a path.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the tests' one place that makes commands")]
pub fn program(name: impl AsRef<OsStr>) -> Run {
    let line = name.as_ref().to_string_lossy().into_owned();
    Run { command: Command::new(name), line, patience: PATIENCE }
}

impl Run {
    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.line.push(' ');
            self.line.push_str(&arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Runs it in this folder.
    #[must_use]
    pub fn within(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Gives it this long instead of two minutes.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The command itself, for those who keep it running.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command
    }

    /// The command, and how it reads.
    pub(crate) fn into_parts(self) -> (Command, String) {
        (self.command, self.line)
    }

    /// Runs it to its end without input. Two minutes are the most it may take.
    ///
    /// # Errors
    /// When it can't be started; not when it fails: see [`Output::ok`].
    pub fn output(self) -> Result<Output> {
        self.output_with(&[])
    }

    /// Runs it to its end with `input` on standard input.
    ///
    /// # Errors
    /// When it can't be started; not when it fails: see [`Output::ok`].
    pub fn output_with(mut self, input: &[u8]) -> Result<Output> {
        use std::io::Write;
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start `{}`", self.line))?;
        let mut stdin = child.stdin.take().context("child has no standard input")?;
        let input = input.to_vec();
        // A child that ends without reading all of it is judged by its exit code.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let (pid, (ended, end)) = (child.id(), std::sync::mpsc::channel());
        std::thread::spawn(move || drop(ended.send(child.wait_with_output())));
        let mut late = false;
        let out = end.recv_timeout(self.patience).or_else(|_| {
            late = true;
            let _ = crate::processes::signal(pid, rustix::process::Signal::KILL);
            // What a child of its own holds open is not waited for.
            end.recv_timeout(Duration::from_secs(5))
        });
        let Ok(out) = out else {
            bail!("`{}` did not end within {:?}", self.line, self.patience);
        };
        let out = out.with_context(|| format!("wait for `{}`", self.line))?;
        let _ = writer.join();
        let output = Output {
            line: self.line,
            code: code_of(out.status),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        };
        ensure!(!late, "killed after {:?}: {output}", self.patience);
        Ok(output)
    }
}

/// The exit code as a shell has it: 128 and the signal when one ended the process.
pub(crate) fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// Runs a command line split at spaces; it has to succeed.
///
/// # Errors
/// The command, its code and all it printed.
pub fn run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    program(words.next().context("empty command")?).args(words).output()?.ok()
}

/// The folder in which cargo puts this workspace's binaries for the running profile.
pub(crate) fn binaries() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("BERTH_BIN_DIR") {
        return Ok(dir.into());
    }
    let own = std::env::current_exe().context("find this program's own path")?;
    let dir = own.parent().context("this program lies in no folder")?;
    // Tests lie in a folder below, programs beside the others.
    let below = dir.file_name().is_some_and(|name| name == "deps");
    let dir = if below { dir.parent().context("the test is not below target/")? } else { dir };
    Ok(dir.to_owned())
}
