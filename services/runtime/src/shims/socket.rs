//! The socket that a dead shim has left.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Bootstrap;

/// One that takes longer to be reached than this is not dead.
const REACHED: Duration = Duration::from_secs(1);

/// Removes the socket of a shim that is gone. It stays when another shim of the same name, which has
/// the same path, has made its own there.
pub(crate) async fn remove_socket(shim: &Bootstrap) {
    let path = shim.socket();
    let refused = match timeout(REACHED, UnixStream::connect(path)).await {
        Ok(Err(error)) => error.kind() == ErrorKind::ConnectionRefused,
        Ok(Ok(_)) | Err(_) => false,
    };
    if refused {
        let _ = fs_err::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_on_which_somebody_listens_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let address = format!("unix://{}", path.display());
        let shim = Bootstrap { version: 3, address, protocol: "ttrpc".to_owned() };
        remove_socket(&shim).await;
        assert!(path.exists());
        drop(listener);
        remove_socket(&shim).await;
        assert!(!path.exists());
    }
}
