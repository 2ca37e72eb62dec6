//! Debian's kubectl: the one of this release, which speaks SPDY, and the one of the next, which speaks WebSocket.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Kubernetes, fetched};
use crate::{Run, program};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Held while they are fetched: tests run side by side.
static FETCHING: Mutex<()> = Mutex::new(());

/// One of the two, and the API server that it talks to.
#[derive(Clone, Debug)]
pub struct Kubectl {
    path: PathBuf,
    url: String,
    home: PathBuf,
}

impl Kubectl {
    /// `which`: `spdy` or `websocket`. Its caches are in `home`.
    ///
    /// # Errors
    /// When it is not there and cannot be fetched.
    pub fn new(which: &str, api: &Kubernetes, home: &Path) -> Result<Self> {
        let tools = {
            let _fetching = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            fetched("fetch.sh", "kubectl")?
        };
        let path = tools.join(which);
        ensure!(path.exists(), "no kubectl for {which:?}");
        Ok(Self { path, url: api.url(), home: home.to_owned() })
    }

    /// As a shell's words.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} --server {}", self.path.display(), self.url)
    }

    /// With these arguments.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Run {
        self.at_home(program(&self.path).args(["--server", &self.url]).args(args))
    }

    /// A shell's line that has [`Kubectl::line`] in it.
    #[must_use]
    pub fn shell(&self, line: &str) -> Run {
        self.at_home(program("sh").args(["-c", line]))
    }

    fn at_home(&self, run: Run) -> Run {
        let run = run.env("HOME", &self.home).env("KUBECONFIG", "/dev/null");
        run.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "true").patience(PATIENCE)
    }
}
