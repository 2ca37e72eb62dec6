//! kubectl, run beside the servers of a test.

use std::path::Path;

use berth_testkit::{Kubernetes, Output, Run};

/// A kubectl and the API server that it is to talk to. `which`: `spdy` or `websocket`.
#[derive(Clone, Debug)]
pub struct Kubectl(berth_testkit::Kubectl);

impl Kubectl {
    pub fn new(which: &'static str, api: &Kubernetes, home: &Path) -> Self {
        Self(berth_testkit::Kubectl::new(which, api, home).unwrap())
    }

    /// As a shell's words.
    pub fn line(&self) -> String {
        self.0.line()
    }

    pub fn run(&self, args: &[&str]) -> Run {
        self.0.run(args)
    }

    /// Runs it to its end.
    pub async fn output(&self, args: &[&str], input: &[u8]) -> Output {
        let (run, input) = (self.run(args), input.to_vec());
        tokio::task::spawn_blocking(move || run.output_with(&input)).await.unwrap().unwrap()
    }

    /// Runs a shell's line.
    pub async fn shell(&self, line: &str) -> Output {
        let run = self.0.shell(line);
        tokio::task::spawn_blocking(move || run.output()).await.unwrap().unwrap()
    }
}
