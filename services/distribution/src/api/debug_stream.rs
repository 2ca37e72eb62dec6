//! What is said between a registry and us, as the client or the log gets to see it.

use std::time::Duration;

use berth_lifecycle::Tasks;
use berth_proto::containerd::types::transfer::{Data, WindowUpdate};
use berth_proto::pack;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::streaming::Stream;
use super::wire::message;
use crate::registry::Dump;

/// How many texts may wait for a slow client; further ones are left out.
const QUEUE: usize = 256;
/// The most bytes in one message.
const MESSAGE: usize = 32 << 10;
/// The most bytes of one text in the log.
const LOGGED: usize = 4 << 10;
/// How long a client may take nothing before it is told nothing more.
const PATIENCE: Duration = Duration::from_secs(60);

/// To the client's stream.
pub struct DebugStream(mpsc::Sender<String>);

impl DebugStream {
    /// Over this stream.
    pub fn new(stream: Stream, tasks: &Tasks) -> Self {
        let (to, from) = mpsc::channel(QUEUE);
        let stop = tasks.token();
        tasks.spawn("registry-debug", async move {
            tokio::select! {
                () = pass_on(from, stream) => {}
                () = stop.cancelled() => {}
            }
        });
        Self(to)
    }
}

impl Dump for DebugStream {
    fn tell(&self, text: String) {
        let _ = self.0.try_send(text);
    }
}

/// To this service's own log.
pub struct DebugLog;

impl Dump for DebugLog {
    fn tell(&self, text: String) {
        let text = &text[..text.floor_char_boundary(LOGGED)];
        tracing::info!(text, "said between a registry and us");
    }
}

async fn pass_on(mut texts: mpsc::Receiver<String>, mut stream: Stream) {
    let mut window = 0;
    while let Some(text) = texts.recv().await {
        let mut bytes = Bytes::from(text);
        while !bytes.is_empty() {
            let sent = tokio::time::timeout(PATIENCE, piece(&mut bytes, &mut window, &mut stream));
            if sent.await.ok().flatten().is_none() {
                return;
            }
        }
    }
}

/// Sends as much as the client takes at once; `None` when it takes nothing any more.
async fn piece(bytes: &mut Bytes, window: &mut i64, stream: &mut Stream) -> Option<()> {
    while *window <= 0 {
        let update: WindowUpdate = message(&stream.from.recv().await?.ok()?).ok()?;
        *window = window.saturating_add(i64::from(update.update));
    }
    let most = usize::try_from(*window).unwrap_or(MESSAGE);
    let data = bytes.split_to(bytes.len().min(MESSAGE).min(most));
    *window -= i64::try_from(data.len()).unwrap_or(0);
    stream.to.send(Ok(pack(&Data { data }))).await.ok()
}
