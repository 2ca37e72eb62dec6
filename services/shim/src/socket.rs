//! The socket of a shim: where it is and who listens there.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Error;

/// Where sockets are when the caller does not say: as containerd has it.
pub(crate) const DEFAULT_FOLDER: &str = "/run/containerd/s";
/// The most bytes of a socket's path, of the 108 with which the kernel has it end in 0.
pub(crate) const MAX_PATH: usize = 107;

/// What `start` found or made.
pub(crate) enum Bound {
    /// A socket that nobody serves yet.
    New(UnixListener),
    /// A shim of the same group serves it.
    Served,
}

/// The socket of a group of containers. Its name is short whatever the group's is.
pub(crate) fn path(
    folder: &Path,
    address: &str,
    namespace: &str,
    group: &str,
) -> Result<PathBuf, Error> {
    let mut hash = Sha256::new();
    for part in [address, namespace, group] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut name = String::with_capacity(32);
    for byte in &hash.finalize()[..16] {
        name.push_str(&format!("{byte:02x}"));
    }
    let path = folder.join(name);
    if path.as_os_str().as_bytes().len() > MAX_PATH {
        return Err(Error::Invalid {
            what: format!("socket path {}", path.display()),
            reason: format!("longer than {MAX_PATH} bytes, choose a shorter folder for sockets"),
        });
    }
    Ok(path)
}

/// Binds the socket, or finds the shim that serves it.
pub(crate) fn bind(path: &Path) -> Result<Bound, Error> {
    let step = || Error::io(format!("bind shim socket {}", path.display()));
    if let Some(folder) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o711).create(folder).map_err(step())?;
    }
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            if UnixStream::connect(path).is_ok() {
                return Ok(Bound::Served);
            }
            // The shim that made it is dead.
            std::fs::remove_file(path).map_err(step())?;
            UnixListener::bind(path).map_err(step())?
        }
        bound => bound.map_err(step())?,
    };
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(step())?;
    Ok(Bound::New(listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_short_and_differ() {
        let folder = Path::new("/run/x");
        let one = path(folder, "/a", "b", "c").unwrap();
        assert_ne!(one, path(folder, "/a", "bc", "").unwrap());
        assert_eq!(one, path(folder, "/a", "b", "c").unwrap());
        assert!(path(Path::new(&"/x".repeat(60)), "", "n", "g").is_err());
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/s");
        let Bound::New(first) = bind(&path).unwrap() else { panic!("served") };
        assert!(matches!(bind(&path).unwrap(), Bound::Served));
        drop(first);
        assert!(matches!(bind(&path).unwrap(), Bound::New(_)));
    }
}
