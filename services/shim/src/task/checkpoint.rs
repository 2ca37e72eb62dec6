//! Checkpoint: what runs in a container, written to a folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_proto::containerd::events::TaskCheckpointed;
use berth_proto::containerd::runc::v1::CheckpointOptions;

use super::container::State;
use super::{Container, Shim};
use crate::Error;

/// What criu has to say of a dump, in its folder of work.
const LOG: &str = "dump.log";
/// Where that is kept in the bundle after a failure, as containerd's shim does.
const KEPT_LOG: &str = "criu-dump.log";

/// A checkpoint to make.
pub(crate) struct Checkpoint {
    pub path: PathBuf,
    pub options: CheckpointOptions,
}

impl Shim {
    pub(crate) async fn checkpoint(
        self: Arc<Self>,
        id: String,
        checkpoint: Checkpoint,
    ) -> Result<(), Error> {
        let container = self.container(&id)?;
        let changing = container.change().await?;
        let refused = |why| Err(Error::Transition(why));
        match container.inner().state() {
            State::Running | State::Paused => {}
            State::Created => return refused("cannot checkpoint a task in created state"),
            State::Stopped => return refused("cannot checkpoint a stopped container"),
        }
        // Whatever else is asked for meanwhile is refused, and need not wait until all is written.
        let _dumping = changing.into_dump();
        let own = checkpoint.options.work_path.is_empty();
        let work = match own {
            true => container.bundle.join("criu-work"),
            false => checkpoint.options.work_path.clone().into(),
        };
        let args = arguments(&container, &checkpoint, &work);
        let what = "OCI runtime checkpoint failed";
        let made = container.runc.dump(what, &args).await;
        let made = made.map_err(|error| explained(error, &container, &work));
        if own {
            // What is left of it goes with the bundle.
            let _ = std::fs::remove_dir_all(&work);
        }
        made?;
        self.publisher.publish(&TaskCheckpointed {
            container_id: id,
            checkpoint: checkpoint.path.to_string_lossy().into_owned(),
        });
        Ok(())
    }
}

/// Says where criu's log is, which outlives its folder.
fn explained(error: Error, container: &Container, work: &Path) -> Error {
    let kept = container.bundle.join(KEPT_LOG);
    match error {
        Error::Runtime { what, message } if std::fs::copy(work.join(LOG), &kept).is_ok() => {
            Error::Runtime { what, message: format!("{message} path= {}", kept.display()) }
        }
        other => other,
    }
}

fn arguments(container: &Container, checkpoint: &Checkpoint, work: &Path) -> Vec<OsString> {
    let Checkpoint { path, options } = checkpoint;
    let mut args: Vec<OsString> = vec!["checkpoint".into()];
    args.extend(["--image-path".into(), path.into(), "--work-path".into(), work.into()]);
    for (on, flag) in [
        (!options.exit, "--leave-running"),
        (options.open_tcp, "--tcp-established"),
        (options.external_unix_sockets, "--ext-unix-sk"),
        (options.terminal, "--shell-job"),
        (options.file_locks, "--file-locks"),
    ] {
        if on {
            args.push(flag.into());
        }
    }
    for namespace in &options.empty_namespaces {
        args.extend(["--empty-ns".into(), namespace.into()]);
    }
    if !options.parent_path.is_empty() {
        args.extend(["--parent-path".into(), OsString::from(&options.parent_path)]);
    }
    args.push(container.id.clone().into());
    args
}
