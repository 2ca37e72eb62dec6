//! Starting a shim as containerd does, and calling its program to clean up after one that died.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use berth_ids::Namespace;
use berth_lifecycle::{LIFELINE_FD, NODE_STARTS, READY_FD, child};
use bytes::Bytes;
use tokio::process::Command;

use super::resolve::resolve;
use super::settings::{Settings, Timeouts};
use crate::error::{Error, Result};

/// What the errors of a start begin with, as containerd's do.
pub const STARTING: &str = "start failed";

/// How long a shim's program may take to describe itself.
const INFO_DEADLINE: Duration = Duration::from_secs(10);

/// Runs the programs of shims. Clones are the same.
#[derive(Clone, Debug)]
pub struct Launcher {
    settings: Arc<RwLock<Arc<Settings>>>,
}

impl Launcher {
    /// A launcher.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(RwLock::new(Arc::new(settings))) }
    }

    /// What shims are told that are started from now on, but for where they find this node: that stays.
    pub fn set(&self, settings: Settings) {
        let mut now = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        let Settings { folder, env, start_deadline, timeouts, debug, .. } = settings;
        let stays = Settings::clone(&now);
        *now = Arc::new(Settings { folder, env, start_deadline, timeouts, debug, ..stays });
    }

    /// Finds the program of a runtime.
    ///
    /// # Errors
    /// [`Error::NoRuntime`].
    pub fn resolve(&self, runtime: &str) -> Result<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        resolve(runtime, self.settings().folder.as_deref(), &path)
    }

    /// Starts a shim for `id` in its folder. `input` is what its standard input gets; answers what
    /// it printed.
    ///
    /// # Errors
    /// [`Error::Child`], [`Error::ShimProgram`].
    pub async fn start(
        &self,
        program: &Path,
        ns: &Namespace,
        id: &str,
        bundle: &Path,
        input: &[u8],
    ) -> Result<Bytes> {
        let mut command = self.command(program, ns, id, bundle);
        command.arg("start");
        let deadline = self.settings().start_deadline;
        crate::counts::SHIMS.of(run(command, input, deadline, STARTING)).await
    }

    /// Has the program of a shim that died clean up; answers what it printed.
    ///
    /// # Errors
    /// [`Error::Child`], [`Error::ShimProgram`].
    pub async fn delete(
        &self,
        program: &Path,
        ns: &Namespace,
        id: &str,
        bundle: &Path,
    ) -> Result<Bytes> {
        let mut command = self.command(program, ns, id, bundle);
        command.arg("-bundle").arg(bundle).arg("delete");
        run(command, &[], self.timeouts().cleanup, "clean up after dead shim").await
    }

    /// What a shim's program prints of itself when it is given `flag`, which is `-v` or `-info`.
    ///
    /// # Errors
    /// [`Error::Child`], [`Error::ShimProgram`].
    pub async fn ask(&self, program: &Path, flag: &str, input: &[u8]) -> Result<Bytes> {
        let mut command = child::command(program);
        command.arg(flag);
        run(command, input, INFO_DEADLINE, "ask shim about itself").await
    }

    /// How long shims may take.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.settings().timeouts
    }

    /// What all shims are told.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn command(&self, program: &Path, ns: &Namespace, id: &str, bundle: &Path) -> Command {
        let settings = self.settings();
        let Settings { address, ttrpc_address, publish_binary, debug, .. } = &*settings;
        let mut command = child::command(program);
        command.current_dir(bundle).process_group(0);
        command.arg("-namespace").arg(ns.as_str()).arg("-address").arg(address);
        command.arg("-publish-binary").arg(publish_binary).arg("-id").arg(id);
        if *debug {
            command.arg("-debug");
        }
        command.env("GOMAXPROCS", "2").env("MAX_SHIM_VERSION", "2");
        command.env("TTRPC_ADDRESS", ttrpc_address).env("GRPC_ADDRESS", address);
        command.env("NAMESPACE", ns.as_str());
        command.envs(settings.env.iter().filter_map(|pair| pair.split_once('=')));
        // Those are between this process and who started it, also when the configuration sets them.
        for own in [LIFELINE_FD, READY_FD, NODE_STARTS].into_iter().chain(berth_lifecycle::SYSTEMDS)
        {
            command.env_remove(own);
        }
        command
    }
}

/// Runs a shim's program to its end; answers what it printed.
async fn run(
    command: Command,
    input: &[u8],
    deadline: Duration,
    step: &'static str,
) -> Result<Bytes> {
    let program = PathBuf::from(command.as_std().get_program());
    let ended = child::output_with_input(command, input, deadline).await;
    let output = ended.map_err(|source| Error::Child { step, source })?;
    if output.status.success() {
        return Ok(output.stdout.into());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let end = match output.status.code() {
        Some(code) => format!("exit status {code}"),
        None => output.status.to_string(),
    };
    Err(Error::ShimProgram { step, program, why: format!("{}: {end}", text.trim()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_does_not_clean_up_in_time_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("shim");
        berth_testkit::write_program(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
        let (long, short) = (Duration::from_secs(600), Duration::from_millis(50));
        let timeouts =
            Timeouts { load: long, cleanup: short, shutdown: long, state: long, stats: long };
        let launcher = Launcher::new(Settings {
            folder: None,
            address: "/a".into(),
            ttrpc_address: "/t".into(),
            publish_binary: "/p".into(),
            socket_folder: None,
            env: Vec::new(),
            start_deadline: long,
            timeouts,
            debug: false,
        });
        let ns = "moby".parse().unwrap();
        let error = launcher.delete(&program, &ns, "c", folder.path()).await.unwrap_err();
        let text = berth_errors::chain(&error);
        assert!(text.contains("clean up after dead shim") && text.contains("50ms"), "{text}");
    }
}
