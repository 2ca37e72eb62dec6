//! The listener of a process, and its connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::hub::Hub;
use super::input::Input;
use super::{client, sent_away};

/// The most clients of a process at once.
pub(super) const MOST: usize = 64;
/// How long accepting rests after an error: a shortage, of which others give back meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves all clients until the process is deleted and they have heard of it.
pub(super) async fn serve(listener: UnixListener, hub: Arc<Hub>, input: Arc<Input>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            () = hub.closed() => break,
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if !allowed(&stream) => {}
                Ok(_) if clients.len() >= MOST => sent_away("there are too many"),
                Ok((stream, _)) => {
                    let (hub, input) = (hub.clone(), input.clone());
                    clients.spawn(async move { client::serve(stream, &hub, &input).await });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}

/// Whether it is root's or our own user's.
fn allowed(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}
