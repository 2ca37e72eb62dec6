//! The public socket: its mode and owner are the only access control, as with containerd.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::net::UnixListener;

use crate::Error;

/// Binds the socket. It belongs to us alone until owner and mode are as configured.
///
/// # Errors
/// [`Error::Grpc`] when it is in use, [`Error::Socket`] when owner or mode cannot be set.
pub fn bind(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<UnixListener, Error> {
    let failed = |step| move |source| Error::Socket { step, path: path.to_owned(), source };
    let listener = berth_grpc::server::bind(path, 0o600)?;
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(failed("set the owner of"))?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    Ok(listener)
}
