//! A server that ends as a process does that is killed.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::until;

/// How long its threads get to end.
const END: Duration = Duration::from_secs(10);

/// A server on a runtime of its own, so that killing it closes its sockets without a word, as a
/// `kill -9` does. Dropping it kills it.
pub struct Killable(Option<Runtime>);

impl Killable {
    /// Has `serve` start the server's tasks once nobody listens on its socket any more: a child that
    /// another thread is just making has that of a server that was killed, until it is a program of its
    /// own.
    ///
    /// # Panics
    /// When somebody else does listen there.
    #[must_use]
    pub fn start(socket: &Path, serve: impl FnOnce()) -> Self {
        let free = || UnixStream::connect(socket).is_err();
        until(&format!("nobody listens on {}", socket.display()), END, free)
            .expect("a free socket");
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("start a runtime");
        let running = runtime.enter();
        serve();
        drop(running);
        Self(Some(runtime))
    }

    /// Ends it at once. Returns when it is gone, as waiting for a process does.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A runtime may not be waited for in an asynchronous context: a thread does it.
            let gone = std::thread::spawn(move || runtime.shutdown_timeout(END)).join();
            assert!(gone.is_ok() || std::thread::panicking(), "a server's end failed");
        }
    }
}
