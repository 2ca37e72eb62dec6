//! What becomes of pods and containers, told to whoever listens.
//!
//! Owns: the order of what is told, and who listens. Must not know: why something happened, and how things are
//! then.
//!
//! What happens is told without waiting for anybody: a listener that is [`BEHIND`] events behind loses its stream, and asks
//! again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use berth_proto::runtime::v1 as wire;
use futures::Stream;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_util::sync::CancellationToken;

use crate::{Error, Result, counts};

pub use wire::ContainerEventType as Kind;

/// So many events may wait for a listener, and to be told at all.
const BEHIND: usize = 1024;

/// Where it is told that something happened. Clones are the same.
#[derive(Clone, Debug)]
pub struct Events {
    news: mpsc::Sender<News>,
    told: broadcast::Sender<Arc<wire::ContainerEventResponse>>,
}

/// Who tells it.
pub struct Teller {
    news: mpsc::Receiver<News>,
    told: broadcast::Sender<Arc<wire::ContainerEventResponse>>,
}

/// Something happened to a container, or to a pod, whose numbers are the same then.
#[derive(Debug)]
struct News {
    id: String,
    pod: String,
    kind: Kind,
}

/// Where it is told, and who tells it.
#[must_use]
pub fn channel() -> (Events, Teller) {
    let ((sender, news), told) = (mpsc::channel(BEHIND), broadcast::Sender::new(BEHIND));
    (Events { news: sender, told: told.clone() }, Teller { news, told })
}

impl Events {
    /// Something happened to a container of a pod.
    pub fn tell(&self, id: &str, pod: &str, kind: Kind) {
        let news = News { id: id.to_owned(), pod: pod.to_owned(), kind };
        if self.told.receiver_count() > 0 && self.news.try_send(news).is_err() {
            counts::LOST.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(id, ?kind, "too much happens at once: an event is not told");
        }
    }

    /// Something happened to a pod itself.
    pub fn tell_of_pod(&self, id: &str, kind: Kind) {
        self.tell(id, id, kind);
    }

    /// What happens from now on. It ends with an error when the listener is too slow.
    pub fn listen(&self) -> impl Stream<Item = Result<wire::ContainerEventResponse>> + use<> {
        let behind = |BroadcastStreamRecvError::Lagged(missed)| {
            counts::LOST.fetch_add(missed, Ordering::Relaxed);
            Error::TooMany(format!(
                "the listener fell {BEHIND} events behind: listen again, and list"
            ))
        };
        BroadcastStream::new(self.told.subscribe())
            .map(move |told| Ok((*told.map_err(behind)?).clone()))
    }
}

impl Teller {
    /// Tells what happens until `stop`, as `describe` says it of what the event is of, its pod, and what happened.
    pub async fn run(
        mut self,
        describe: impl AsyncFn(String, String, Kind) -> wire::ContainerEventResponse,
        stop: CancellationToken,
    ) {
        let telling = async {
            while let Some(News { id, pod, kind }) = self.news.recv().await {
                let told = describe(id, pod, kind).await;
                // Nobody may listen any more.
                let _ = self.told.send(Arc::new(told));
            }
        };
        stop.run_until_cancelled(telling).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_waited_for_and_who_is_too_slow_is_told_so() {
        let (events, mut teller) = channel();
        // Nobody listens: nothing is kept.
        events.tell_of_pod("p", Kind::ContainerCreatedEvent);
        assert!(teller.news.try_recv().is_err());
        let mut slow = Box::pin(events.listen());
        events.tell("c", "p", Kind::ContainerStartedEvent);
        assert_eq!(teller.news.try_recv().unwrap().id, "c");
        for number in 0..=BEHIND {
            let told =
                wire::ContainerEventResponse { created_at: number as i64, ..Default::default() };
            teller.told.send(Arc::new(told)).unwrap();
        }
        let first = slow.next().await.unwrap().unwrap_err().to_string();
        assert!(first.contains("listen again"), "{first}");
    }
}
