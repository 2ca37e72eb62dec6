//! The one place that makes commands.
//!
//! Every program that berth starts comes from [`command`]: it inherits no descriptor but its
//! standard ones and those of [`pass`], has nobody else's signal mask, and dies with its handle.
//! [`output`] runs one to its end with a deadline and a bound on what it may write.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::{Error, LIFELINE_FD, NODE_STARTS, READY_FD, SYSTEMDS};

/// The most that [`output`] takes from each of a program's two outputs.
pub const MAX_OUTPUT: usize = 16 << 20;

/// A command that inherits nothing by accident: standard input is /dev/null, every descriptor
/// above 2 is closed on exec, no signal is blocked, the supervisor's variables are not set, and
/// dropping the child kills it.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the one place that makes commands")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    // What the supervisor and systemd said to us is not for our children.
    for ours in [LIFELINE_FD, READY_FD, NODE_STARTS].into_iter().chain(SYSTEMDS) {
        command.env_remove(ours);
    }
    // SAFETY: between fork and exec only system calls are made, nothing allocates or locks. The
    // standard library has emptied the signal mask by then.
    unsafe {
        command.pre_exec(close_on_exec_from_3);
    }
    command
}

/// This process becomes the program of `command`. Returns only why it could not.
#[must_use]
pub fn become_it(mut command: Command) -> io::Error {
    use std::os::unix::process::CommandExt;
    command.as_std_mut().exec()
}

/// Lets the child inherit `fd` under the number it has here, which is returned for its
/// environment or arguments. The command keeps the descriptor open until it is dropped.
pub fn pass(command: &mut Command, fd: OwnedFd) -> RawFd {
    let number = fd.as_raw_fd();
    // SAFETY: one fcntl between fork and exec, on a descriptor that the closure itself owns. It
    // runs after the sweep of `command`, as hooks run in the order in which they were added.
    unsafe {
        command.pre_exec(move || {
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).map_err(io::Error::from)
        });
    }
    number
}

/// Lets the child inherit `fd` as number `number`, above 2. The command keeps the descriptor open
/// until it is dropped.
pub fn pass_as(command: &mut Command, fd: OwnedFd, number: RawFd) {
    // SAFETY: one fcntl or dup2 between fork and exec, from a descriptor that the closure itself
    // owns. It runs after the sweep of `command`, as hooks run in the order in which they were
    // added; what has that number in the child is ours to replace.
    unsafe {
        command.pre_exec(move || {
            let done = if fd.as_raw_fd() == number {
                libc::fcntl(number, libc::F_SETFD, 0)
            } else {
                libc::dup2(fd.as_raw_fd(), number)
            };
            if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
}

/// Runs `command` to its end and returns what it wrote. The exit status is the caller's to judge.
///
/// # Errors
/// [`Error::Start`], [`Error::Talk`]; [`Error::Deadline`] or [`Error::TooMuchOutput`] when it was
/// killed for its time or its output.
pub async fn output(command: Command, deadline: Duration) -> Result<Output, Error> {
    output_with_input(command, &[], deadline).await
}

/// As [`output`], with `input` on its standard input, which is then closed.
///
/// # Errors
/// As [`output`].
pub async fn output_with_input(
    mut command: Command,
    input: &[u8],
    deadline: Duration,
) -> Result<Output, Error> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().map_err(|source| Error::Start { program: program.clone(), source })?;
    let ended = tokio::time::timeout(deadline, converse(&mut child, &program, input)).await;
    match ended {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => {
            kill(&mut child, &program).await?;
            Err(error)
        }
        Err(_) => {
            kill(&mut child, &program).await?;
            Err(Error::Deadline { program, deadline })
        }
    }
}

/// Feeds the child, reads both its outputs and waits for its end.
async fn converse(child: &mut Child, program: &str, input: &[u8]) -> Result<Output, Error> {
    let talk =
        |step: &'static str| move |source| Error::Talk { step, program: program.into(), source };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        match stdin.write_all(input).await {
            // A program need not read its input.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(talk("write to")),
        }
    };
    let (stdout, stderr, ()) =
        tokio::try_join!(read_bounded(stdout, program), read_bounded(stderr, program), feed)?;
    let status = child.wait().await.map_err(talk("wait for"))?;
    Ok(Output { status, stdout, stderr })
}

async fn read_bounded(
    source: Option<impl AsyncRead + Unpin>,
    program: &str,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let Some(source) = source else { return Ok(bytes) };
    source
        .take(MAX_OUTPUT as u64 + 1)
        .read_to_end(&mut bytes)
        .await
        .map_err(|source| Error::Talk { step: "read from", program: program.to_owned(), source })?;
    if bytes.len() > MAX_OUTPUT {
        return Err(Error::TooMuchOutput { program: program.to_owned(), limit: MAX_OUTPUT });
    }
    Ok(bytes)
}

/// Kills and reaps.
async fn kill(child: &mut Child, program: &str) -> Result<(), Error> {
    child.kill().await.map_err(|source| Error::Talk {
        step: "kill",
        program: program.to_owned(),
        source,
    })
}

fn close_on_exec_from_3() -> io::Result<()> {
    // SAFETY: no memory is involved; the call only sets a flag on descriptors.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Kernels before 5.11, and sandboxes that do not know the call.
        Some(libc::ENOSYS | libc::EINVAL | libc::EPERM) => flag_one_by_one(),
        _ => Err(error),
    }
}

fn flag_one_by_one() -> io::Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = limit.current.unwrap_or(65_536).min(1 << 20);
    for number in 3..RawFd::try_from(limit).unwrap_or(RawFd::MAX) {
        // SAFETY: only a flag is set; a number that is not open answers EBADF, which is fine.
        unsafe {
            libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = command("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_brings_both_outputs_and_the_status() {
        let output = output_with_input(shell("cat; echo bad >&2; exit 3"), b"in", SOON).await;
        let output = output.unwrap();
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"in"[..], &b"bad\n"[..]));
        assert_eq!(output.status.code(), Some(3));
    }

    #[tokio::test]
    async fn a_late_program_is_killed_and_reaped() {
        let error = output(shell("exec sleep 60"), Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_flood_is_bounded() {
        let error = output(shell("exec cat /dev/zero"), SOON).await.unwrap_err();
        assert!(matches!(error, Error::TooMuchOutput { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = output(command("/no/such/program"), SOON).await.unwrap_err();
        assert!(error.to_string().starts_with("start \"/no/such/program\""), "{error}");
    }

    #[tokio::test]
    async fn only_passed_descriptors_are_inherited() {
        // Out of the way of what the program opens itself: a folder, most likely as 3.
        let leak = rustix::io::fcntl_dupfd_cloexec(tempfile::tempfile().unwrap(), 100).unwrap();
        rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
        let mut list = shell("exec ls /proc/self/fd");
        let read = rustix::pipe::pipe().unwrap().0;
        let passed = pass(&mut list, rustix::io::fcntl_dupfd_cloexec(read, 100).unwrap());
        let output = output(list, SOON).await.unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let listed: Vec<_> = listed.lines().collect();
        assert!(listed.contains(&passed.to_string().as_str()), "{listed:?}");
        assert!(!listed.contains(&leak.as_raw_fd().to_string().as_str()), "{listed:?}");
    }

    #[tokio::test]
    async fn a_descriptor_is_inherited_under_the_number_that_is_asked_for() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&write, b"payload").unwrap();
        drop(write);
        let mut cat = shell("exec cat <&9");
        pass_as(&mut cat, read, 9);
        assert_eq!(output(cat, SOON).await.unwrap().stdout, b"payload");
    }

    #[test]
    fn the_slow_sweep_flags_what_is_open() {
        let file = tempfile::tempfile().unwrap();
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        flag_one_by_one().unwrap();
        let flags = rustix::io::fcntl_getfd(&file).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}
