//! Following the services' events, whatever happens to them.
//!
//! A subscription begins with what comes: what was before it, and between it and the one before, is told
//! as a gap.

use std::time::Duration;

use berth_grpc::Channel;
use berth_node_events::follow::{Follower, Heard, Listener};
use berth_proto::berth::node::v1::NodeEvent;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::changes::{Change, of_distribution, of_runtime};
use super::{NodeTruth, Pending};
use crate::keys::Kind;
use crate::truth::News;

/// Blobs come and go many at once: their namespace is told so long after the first.
const SETTLE: Duration = Duration::from_secs(2);
/// Containers of unknown state are asked for again after this.
const AGAIN: Duration = Duration::from_secs(10);
/// The first pause between two subscriptions; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// A subscription that stood so long was none that breaks off at once.
const STOOD: Duration = Duration::from_secs(30);
/// The most namespaces that wait to be told.
const MAX_NAMESPACES: usize = 10_000;

/// What is heard of one service, as news.
struct Telling<'a> {
    kind: Kind,
    change: fn(&NodeEvent) -> Change,
    later: &'a Pending<std::sync::Arc<str>>,
    news: &'a mpsc::Sender<News>,
}

impl Listener for Telling<'_> {
    async fn hear(&mut self, heard: Heard) -> bool {
        let news = match heard {
            Heard::Subscribed => News::Gap(self.kind),
            Heard::Interrupted => return true,
            Heard::Event(event) => match (self.change)(&event) {
                Change::Nothing => return true,
                Change::One(held) => News::Changed(held),
                Change::Namespace(namespace) if self.kind == Kind::Images => {
                    self.later.extend([namespace], MAX_NAMESPACES);
                    return true;
                }
                Change::Namespace(namespace) => News::Namespace(self.kind, namespace),
            },
        };
        self.news.send(news).await.is_ok()
    }
}

impl NodeTruth {
    /// Tells what happens to images.
    pub(super) async fn follow_distribution(&self, news: &mpsc::Sender<News>) {
        let (kind, change, later) =
            (Kind::Images, of_distribution as fn(&NodeEvent) -> Change, &self.blobs);
        follow(&self.distribution, "distribution", Telling { kind, change, later, news }).await;
    }

    /// Tells what happens to containers and tasks.
    pub(super) async fn follow_runtime(&self, news: &mpsc::Sender<News>) {
        let (kind, change, later) =
            (Kind::Containers, of_runtime as fn(&NodeEvent) -> Change, &self.blobs);
        follow(&self.runtime, "runtime", Telling { kind, change, later, news }).await;
    }

    /// Tells in which namespaces blobs came or went.
    pub(super) async fn tell_blobs(&self, news: &mpsc::Sender<News>) {
        loop {
            for namespace in self.blobs.after(SETTLE).await {
                if news.send(News::Namespace(Kind::Images, namespace)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Has containers asked for again whose state nobody could tell: no event comes when somebody can.
    pub(super) async fn tell_unknown(&self, news: &mpsc::Sender<News>) {
        loop {
            for held in self.unknown.after(AGAIN).await {
                if news.send(News::Changed(held)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Follows a service until nobody listens any more.
async fn follow(channel: &Channel, service: &'static str, mut telling: Telling<'_>) {
    let mut pause = PAUSE;
    loop {
        let began = Instant::now();
        let mut follower = Follower::new(channel.clone(), service);
        match follower.subscription(&mut telling).await {
            Ok(std::ops::ControlFlow::Break(())) => return,
            Ok(std::ops::ControlFlow::Continue(())) => tracing::debug!(service, "events ended"),
            Err(status) => tracing::debug!(service, %status, "events interrupted"),
        }
        if began.elapsed() >= STOOD {
            pause = PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = MAX_PAUSE.min(pause * 2);
    }
}
