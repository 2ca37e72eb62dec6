//! `loop`: a file as a block device. Its mount point is a symbolic link to the device, so that
//! mounts after it find it as they find others.

use std::io;
use std::path::Path;

use berth_mount::{LoopDevice, LoopOptions, Mount};
use berth_store::failpoint;

use crate::Error;

/// The type of such mounts.
pub(super) const LOOP: &str = "loop";

/// Attaches the mount's source to a device that `point` leads to. Until all of it is done the
/// device goes with this process.
pub(super) fn attach(mount: &Mount, point: &Path) -> Result<(), Error> {
    let options = LoopOptions {
        read_only: mount.is_read_only(),
        direct_io: mount.options.iter().any(|option| option == "direct-io"),
        name: &name(point),
    };
    let device = LoopDevice::attach(Path::new(&mount.source), options)?;
    failpoint::file("loop device", "attached");
    std::os::unix::fs::symlink(device.path(), point).map_err(failed("link", point))?;
    failpoint::file("loop device", "linked");
    Ok(device.keep()?)
}

/// Whether the device is still there that was attached at `point`. Numbers of devices are used
/// again, by others too: it has to have this name.
pub(super) fn is_attached(point: &Path) -> Result<bool, Error> {
    Ok(find(point)?.is_some())
}

/// Undoes [`attach`], also one that was cut off. Who uses the device keeps it until then.
pub(super) fn detach(point: &Path) -> Result<(), Error> {
    if let Some(device) = find(point)? {
        device.release()?;
    }
    failpoint::file("loop device", "released");
    fs_err::remove_file(point).map_err(failed("remove", point))
}

fn find(point: &Path) -> Result<Option<LoopDevice>, Error> {
    match fs_err::read_link(point) {
        Ok(path) => Ok(LoopDevice::find(&path, &name(point))?),
        // Not there, or the directory of another mount.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) =>
        {
            Ok(None)
        }
        Err(error) => Err(failed("read the link", point)(error)),
    }
}

fn name(point: &Path) -> String {
    point.display().to_string()
}

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File { step, path: path.to_owned(), source }
}
