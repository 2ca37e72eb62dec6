//! The public socket: its mode and owner are the only access control, as with containerd.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use berth_config::Config;
use tokio::net::UnixListener;

use crate::Error;

/// The socket on which systemd listens for this process, which has set its owner and mode, or else one that
/// is bound now.
///
/// # Errors
/// [`Error::Lifecycle`] when systemd's cannot be used, [`Error::Elsewhere`] when it is not where the
/// configuration says; as [`bind`].
pub fn listen(config: &Config) -> Result<UnixListener, Error> {
    let Some(listener) = berth_lifecycle::activated()? else {
        let gateway = &config.gateway;
        return bind(&config.address, gateway.uid, gateway.gid, gateway.mode);
    };
    let path = &config.address;
    let failed = |step| move |source| Error::Socket { step, path: path.clone(), source };
    let at = listener.local_addr().map_err(failed("find out the place of"))?;
    // Shims are told of the configured one, and runtime listens beside it.
    if !at.as_pathname().is_some_and(|at| is_same(at, path)) {
        return Err(Error::Elsewhere { listens: format!("{at:?}"), address: path.clone() });
    }
    listener.set_nonblocking(true).map_err(failed("set up"))?;
    UnixListener::from_std(listener).map_err(failed("listen on"))
}

/// Whether both name the same file, as /run and /var/run do.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs_err::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

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
