//! The shim's own log: lines into the pipe `log` of the bundle, from which the caller reads.
//!
//! A line that the pipe does not take is dropped: the shim never waits for its log's reader.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::clock::Rfc3339;

static LOG: OnceLock<File> = OnceLock::new();

/// Opens the pipe. Without one there is no log.
pub(crate) fn open(bundle: &Path) {
    let mut options = File::options();
    // For both directions: no reader is needed to open it, and none to write.
    options.read(true).write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    if let Ok(pipe) = options.open(bundle.join("log")) {
        // Opened once, at the start of the process.
        let _ = LOG.set(pipe);
    }
}

/// Something went wrong and was handled.
pub(crate) fn warn(text: impl fmt::Display) {
    let text = text.to_string();
    let line = format!("time=\"{}\" level=warning msg={text:?}\n", Rfc3339(SystemTime::now()));
    match LOG.get() {
        Some(mut pipe) => drop(pipe.write(line.as_bytes())),
        None => drop(std::io::stderr().write_all(line.as_bytes())),
    }
}
