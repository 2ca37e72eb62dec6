//! Users, as the other side of a socket sees them.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Uid;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does `work` as another user, on a thread of its own: credentials are a thread's, and the kernel
/// tells the other side of a socket those of the thread that connects or listens.
///
/// # Errors
/// Without root.
///
/// # Panics
/// When `work` does.
pub fn as_user<T: Send>(uid: u32, work: impl FnOnce() -> T + Send) -> Result<T> {
    let uid = Uid::from_raw(uid);
    std::thread::scope(|scope| {
        let thread =
            scope.spawn(move || rustix::thread::set_thread_res_uid(uid, uid, uid).map(|()| work()));
        let done = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        done.with_context(|| format!("become user {}", uid.as_raw()))
    })
}

/// What comes first as an answer to `words` at a unix socket; nothing if the other side hangs up.
///
/// # Errors
/// When nobody listens, or neither answers nor hangs up.
pub fn ask(socket: &Path, words: &[u8]) -> Result<Vec<u8>> {
    let hung_up = |kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
    let mut stream = UnixStream::connect(socket).context("connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    match stream.write_all(words) {
        Err(error) if !hung_up(error.kind()) => return Err(error).context("say the words"),
        _ => {}
    }
    let mut answer = vec![0; 1 << 16];
    let length = match stream.read(&mut answer) {
        Err(error) if hung_up(error.kind()) => 0,
        read => read.context("hear the answer")?,
    };
    answer.truncate(length);
    Ok(answer)
}
