//! Kubernetes' client for JavaScript, over WebSocket.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;

use super::{Kubernetes, fetched, file};
use crate::{Run, program};

/// How long a script may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Held while it is installed: tests run side by side.
static INSTALLING: Mutex<()> = Mutex::new(());

/// One of the scripts of `node`: `exec`, `attach` or `forward`.
///
/// # Errors
/// When the client is not there and cannot be installed.
pub fn javascript(api: &Kubernetes, script: &str, args: &[&str]) -> Result<Run> {
    let tools = {
        let _installing = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        fetched("node/install.sh", "kubernetes-javascript")?
    };
    let client = tools.join("node_modules/@kubernetes/client-node/dist/index.js");
    let script = file("node").join(format!("{script}.mjs"));
    let run = program("node").args([script, client]).args([api.url()]);
    Ok(run.args(args).patience(PATIENCE))
}
