//! Writing down what a process does, when it gets SIGUSR1.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};

use crate::Tasks;

/// What is written down besides tasks.
static MORE: Mutex<Vec<fn() -> String>> = Mutex::new(Vec::new());

/// Has this written down, too: lines that say what of another kind is under way. It is called on a thread
/// that does other work, and must not wait.
pub fn described(tell: fn() -> String) {
    MORE.lock().unwrap_or_else(PoisonError::into_inner).push(tell);
}

/// The tasks, and what else is told.
fn describe(tasks: &Tasks) -> String {
    let more = MORE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    more.into_iter().fold(tasks.describe(), |text, tell| text + &tell())
}

/// Writes the tasks and calls of this process to `SERVICE.PID.tasks.log` in the folder of temporary files at
/// each SIGUSR1, as containerd does with its stacks. Listens from now on; what it returns never does.
pub fn describe_on_signal(service: &'static str, tasks: Tasks) -> impl Future<Output = ()> + Send {
    let wishes = signal(SignalKind::user_defined1());
    async move {
        let mut wishes = match wishes {
            Ok(wishes) => wishes,
            Err(error) => {
                tracing::error!(%error, "tasks are not written down: listen for SIGUSR1");
                return std::future::pending().await;
            }
        };
        while wishes.recv().await.is_some() {
            let name = format!("{service}.{}.tasks.log", std::process::id());
            let path = std::env::temp_dir().join(name);
            match write(&path, &describe(&tasks)) {
                Ok(()) => tracing::info!(path = %path.display(), "wrote down the tasks"),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "write down the tasks");
                }
            }
        }
    }
}

/// Anybody may have put something of that name there: it is not followed, nor written to.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside: PathBuf = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(&beside)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    std::fs::rename(&beside, path)
}
