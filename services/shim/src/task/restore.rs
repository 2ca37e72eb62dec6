//! Restore: a container made from a checkpoint, which runs from its start on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::checkpoint::DUMPING;
use super::create::Creation;
use super::{Container, process_file};
use crate::Error;
use crate::bundle::read_pid;
use crate::io::{ConsoleSocket, Streams, attach_console, prepare};

/// What a container is restored from.
pub(crate) struct Restore {
    checkpoint: PathBuf,
    work: PathBuf,
    no_pivot_root: bool,
}

impl Restore {
    /// That of a creation, if it is of a checkpoint.
    pub(super) fn of(creation: &Creation) -> Option<Restore> {
        let options = &creation.options;
        let work = match options.criu_work_path.as_str() {
            "" => creation.bundle.join("criu-work"),
            path => path.into(),
        };
        let checkpoint = creation.checkpoint.clone()?;
        Some(Restore { checkpoint, work, no_pivot_root: options.no_pivot_root })
    }

    /// Restores the container's processes; answers the first one, which runs.
    pub(super) async fn run(&self, container: &Container) -> Result<(i32, Streams), Error> {
        const WHAT: &str = "OCI runtime restore failed";
        let pid_file = process_file(&container.bundle, "init", ".pid");
        let stdio = container.inner().init.stdio.clone();
        let owner = container.owner(&container.id);
        let mut args = self.arguments(&container.bundle, &pid_file);
        let streams = if stdio.terminal {
            let socket = ConsoleSocket::bind(&container.bundle, "init")?;
            args.extend(["--console-socket".into(), socket.path().into()]);
            args.push(container.id.clone().into());
            container.runc.run_attached_within(DUMPING, WHAT, &args, None).await?;
            attach_console(&stdio, &owner, socket.receive().await?).await?
        } else {
            let (streams, ends) = prepare(&stdio, &owner).await?;
            args.push(container.id.clone().into());
            container.runc.run_attached_within(DUMPING, WHAT, &args, Some(ends)).await?;
            streams.begin()
        };
        Ok((read_pid(&pid_file)?, streams))
    }

    fn arguments(&self, bundle: &Path, pid_file: &Path) -> Vec<OsString> {
        // The processes are to be this shim's children, not those of a runc that stays.
        let mut args: Vec<OsString> =
            ["restore", "--detach", "--no-subreaper"].map(Into::into).into();
        for (flag, path) in [
            ("--bundle", bundle),
            ("--image-path", &self.checkpoint),
            ("--work-path", &self.work),
            ("--pid-file", pid_file),
        ] {
            args.extend([flag.into(), path.into()]);
        }
        if self.no_pivot_root {
            args.push("--no-pivot".into());
        }
        args
    }
}
