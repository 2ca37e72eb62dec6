//! When runc ran for a call, for a caller that wants to know: spans of its own would cost the shim more
//! than all else in it.
//!
//! Such a call says a number under [`HEADER`]. Each run for it becomes a line `VERB BEGAN ENDED`
//! (nanoseconds since 1970) in the file `berth-runs-NUMBER` of the bundle, there before the answer. The
//! caller takes the file away; else it goes with the bundle. Other calls cost one look.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use berth_ttrpc::Call;

use crate::log;

/// The number of a call is under it: 16 digits in base 16.
const HEADER: &str = "berth-runs";

tokio::task_local! {
    static NUMBER: Option<String>;
}

/// The number that a call says, if it says one.
pub(crate) fn wanted(call: &Call) -> Option<String> {
    let number = call.header(HEADER)?;
    let digits = number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (number.len() == 16 && digits).then(|| number.to_owned())
}

/// The number of the call for which this is asked.
pub(crate) fn current() -> Option<String> {
    NUMBER.try_with(Clone::clone).ok().flatten()
}

/// Does the work for the call of this number.
pub(crate) async fn of<F: Future>(number: Option<String>, work: F) -> F::Output {
    NUMBER.scope(number, work).await
}

/// A run, written down when it is dropped.
pub(crate) struct Run {
    path: PathBuf,
    verb: String,
    began: SystemTime,
}

impl Run {
    /// One that begins now, if somebody wants to know.
    pub(crate) fn begin(bundle: &Path, verb: Option<&OsStr>) -> Option<Run> {
        let path = bundle.join(format!("berth-runs-{}", current()?));
        let verb = verb.unwrap_or_default().to_string_lossy().into_owned();
        Some(Run { path, verb, began: SystemTime::now() })
    }

    fn write(&self) -> std::io::Result<()> {
        let nanos = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let (began, ended) = (nanos(self.began), nanos(SystemTime::now()));
        let line = format!("{} {began} {ended}\n", self.verb);
        let mut options = std::fs::OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        options.open(&self.path)?.write_all(line.as_bytes())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Err(error) = self.write() {
            log::warn(format_args!("write down a run in {}: {error}", self.path.display()));
        }
    }
}
