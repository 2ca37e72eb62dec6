//! `delete`: cleans up after a shim that died, and tells how its container must have ended.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use berth_proto::containerd::task::v3::DeleteResponse;
use prost::Message;

use crate::bundle::{Kept, read_pid};
use crate::children::Children;
use crate::clock::timestamp;
use crate::runc::Runc;
use crate::{Args, Error};

/// What a process that was killed answers.
const KILLED: u32 = 128 + 9;

/// Deletes the container with force, unmounts its root, and prints a DeleteResponse.
pub(crate) async fn delete(args: &Args) -> Result<(), Error> {
    let bundle = bundle(args)?;
    let kept = Kept::read(&bundle)?;
    let children = Arc::new(Children::default());
    let runc = Runc::new(&kept, &args.namespace, &args.id, &bundle, children.clone());
    let force = ["delete", "--force", &args.id];
    let deleted = children.reaping(runc.run("failed to delete task", &force, &[])).await?;
    if let Err(error) = deleted {
        // Our caller logs what is on standard error; the rest has to be cleaned up as well.
        eprintln!("runc container {}: {error}", args.id);
    }
    berth_mount::unmount_beneath(&bundle.join("rootfs"))?;
    let pid = read_pid(&bundle.join("init.pid")).unwrap_or(0);
    let response = DeleteResponse {
        pid: pid.unsigned_abs(),
        exit_status: KILLED,
        exited_at: Some(timestamp(SystemTime::now())),
    };
    let printed = std::io::stdout().write_all(&response.encode_to_vec());
    printed.map_err(Error::io("print the answer"))
}

/// The bundle that was named, or the one that lies beside the folder that we were started in.
fn bundle(args: &Args) -> Result<PathBuf, Error> {
    if let Some(bundle) = &args.bundle {
        return Ok(bundle.clone());
    }
    let here = std::env::current_dir().map_err(Error::io("find the bundle"))?;
    Ok(here.with_file_name(&args.id))
}
