//! Writing down what a process does, when it gets SIGUSR1.

use std::io;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use crate::Tasks;

/// Writes the tasks of this process to `SERVICE.PID.tasks.log` in the folder of temporary files at
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
            match write(&path, &tasks.describe()) {
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
