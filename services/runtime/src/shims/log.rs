//! The fifo in a task's folder that its shim logs to.

use std::io;
use std::path::Path;

use berth_ids::Namespace;
use berth_lifecycle::Tasks as Jobs;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// The longest line that is copied whole.
const MAX_LINE: u64 = 8 << 10;

/// Copies a shim's log to ours until what it serves is gone.
///
/// # Errors
/// [`Error::Bundle`].
pub fn read_log(
    jobs: &Jobs,
    path: &Path,
    ns: &Namespace,
    id: &str,
    gone: &CancellationToken,
) -> Result<()> {
    let copy = copy_log(make_log(path)?, ns.to_string(), id.to_owned());
    let (gone, stop) = (gone.clone(), jobs.token());
    jobs.spawn("shim-log", async move {
        tokio::select! {
            () = copy => {}
            () = gone.cancelled() => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(())
}

/// Makes the fifo if it is not there, and opens it so that no end of it makes anybody wait.
fn make_log(path: &Path) -> Result<Receiver> {
    let failed = |step, source: io::Error| Error::Bundle { step, path: path.to_owned(), source };
    match mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(failed("make log pipe", error.into())),
    }
    let opened = OpenOptions::new().read_write(true).open_receiver(path);
    opened.map_err(|source| failed("open log pipe", source))
}

/// Copies a shim's lines to our log until the fifo cannot be read any more.
async fn copy_log(log: Receiver, namespace: String, id: String) {
    let mut lines = BufReader::new(log);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(1..) => {
                tell(&namespace, &id, String::from_utf8_lossy(&line).trim_end());
            }
            Ok(0) => return,
            Err(error) => {
                tracing::warn!(namespace, id, %error, "read shim's log");
                return;
            }
        }
    }
}

/// Go shims write `level=…` and tell little of interest below a warning; a line of another form
/// is what a program says when it dies.
fn tell(namespace: &str, id: &str, line: &str) {
    if ["level=info", "level=debug", "level=trace"].iter().any(|level| line.contains(level)) {
        tracing::debug!(target: "shim", namespace, id, "{line}");
    } else {
        tracing::warn!(target: "shim", namespace, id, "{line}");
    }
}
