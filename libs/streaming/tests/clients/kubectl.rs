//! Where the two kubectl are, and how they are run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use berth_testkit::{Output, Run, program};

use crate::wanted::PATIENCE;

/// Fetched once, where `make` has not done so.
static TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().nth(3).unwrap();
    let tools = target.join("tools/kubectl");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/fetch.sh");
    let fetched = program(script).args([&tools]).patience(std::time::Duration::from_secs(300));
    fetched.output().unwrap().ok().unwrap();
    tools
});

/// A kubectl and the API server that it is to talk to. `which`: `spdy` or `websocket`.
#[derive(Clone, Debug)]
pub struct Kubectl {
    which: &'static str,
    api: SocketAddr,
    home: PathBuf,
}

impl Kubectl {
    pub fn new(which: &'static str, api: SocketAddr, home: &Path) -> Self {
        Self { which, api, home: home.to_owned() }
    }

    pub fn path(&self) -> PathBuf {
        TOOLS.join(self.which)
    }

    /// As a shell's words.
    pub fn line(&self) -> String {
        format!("{} --server http://{}", self.path().display(), self.api)
    }

    pub fn run(&self, args: &[&str]) -> Run {
        let server = format!("http://{}", self.api);
        self.at_home(program(self.path()).args(["--server", &server]).args(args))
    }

    /// Its caches are the test's own.
    pub fn at_home(&self, run: Run) -> Run {
        let run = run.env("HOME", &self.home).env("KUBECONFIG", "/dev/null");
        run.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "true").patience(PATIENCE)
    }

    /// Runs it to its end, beside the servers of the test.
    pub async fn output(&self, args: &[&str], input: &[u8]) -> Output {
        let (run, input) = (self.run(args), input.to_vec());
        tokio::task::spawn_blocking(move || run.output_with(&input)).await.unwrap().unwrap()
    }

    /// Runs a shell's line.
    pub async fn shell(&self, line: &str) -> Output {
        let run = self.at_home(program("sh").args(["-c", line]));
        tokio::task::spawn_blocking(move || run.output()).await.unwrap().unwrap()
    }
}
