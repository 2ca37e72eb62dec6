//! One connection from its upgrade to its end: reader, writer and silence. Must not know: protocols.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Limits;
use crate::channel::{Owed, Parting};
use crate::spdy::Fault;

/// How long a client that broke the protocol has to hear of it.
const TELLING: Duration = Duration::from_secs(1);

/// Why reading a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Spdy(#[from] Fault),
    #[error("a message that breaks the protocol of channels")]
    Message,
    #[error("a message that is too large")]
    TooLarge,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// When a connection last had something to say.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    began: Instant,
    /// Milliseconds after `began`.
    last: Arc<AtomicU64>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), last: Arc::default() }
    }

    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Returns once there was nothing for so long.
    async fn silence(&self, idle: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let until = self.began + last + idle;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// What one connection is driven with.
pub(crate) struct Driven<'a> {
    pub(crate) owed: Arc<Owed>,
    pub(crate) activity: Activity,
    pub(crate) gone: CancellationToken,
    pub(crate) limits: &'a Limits,
}

impl Driven<'_> {
    /// Runs both sides until the client goes, breaks the protocol, is silent for too long, or has been
    /// told all. Then both are dropped, which ends all streams, and `gone` is cancelled.
    pub(crate) async fn run(
        self,
        reader: impl Future<Output = Result<(), Broken>>,
        writer: impl Future<Output = io::Result<()>>,
    ) {
        let _gone = self.gone.drop_guard();
        let (mut reader, mut writer) = (pin!(reader), pin!(writer));
        tokio::select! {
            read = &mut reader => if let Err(broken) = read {
                tracing::debug!(%broken, "connection ends");
                let parting = match broken {
                    Broken::Io(_) => return,
                    Broken::TooLarge => Parting::TooLarge,
                    Broken::Spdy(_) | Broken::Message => Parting::Fault,
                };
                self.owed.finish(parting);
                let _told = tokio::time::timeout(TELLING, writer).await;
            },
            written = &mut writer => if written.is_ok() {
                // What the client still sends is read: an end with unread bytes would cut off what it
                // has not read yet.
                let _closed = tokio::time::timeout(self.limits.linger, reader).await;
            },
            () = self.activity.silence(self.limits.idle) => {
                tracing::info!(idle = ?self.limits.idle, "a silent connection is closed");
            }
        }
    }
}
