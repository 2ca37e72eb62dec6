//! Clients of Kubernetes, and an API server that is as small as they let it be.
//!
//! Owns: what such clients look up first, and how they are run. Must not know: who does what they want of a pod.

mod api;
mod javascript;
mod kubectl;

pub use api::{Given, Kubernetes, Streams, Wanted};
pub use javascript::javascript;
pub use kubectl::Kubectl;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::program;

/// The one pod that clients are told of, and its container.
pub(crate) const POD: &str = "pod";

/// How long clients may take to be fetched.
const FETCHED: Duration = Duration::from_secs(300);

/// A file of this folder.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kubernetes").join(name)
}

/// Where a script puts clients, once, where `make tools` has not done so.
fn fetched(script: &str, to: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program's own path")?;
    let target = own.ancestors().nth(3).context("the test is not below target/")?;
    let tools = target.join("tools").join(to);
    program(file(script)).args([&tools]).patience(FETCHED).output()?.ok()?;
    Ok(tools)
}
