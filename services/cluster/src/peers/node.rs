//! This node's own services, as the truth of what it holds.
//!
//! Owns: which service knows what, how long each may take to say, and what its events mean for what is
//! shown. Must not know: what becomes of it ([`crate::publish`]).
//!
//! | module | what it does |
//! |---|---|
//! | [`claim`] | who has the node's key, if it is another version |
//! | [`changes`] | what an event changed |
//! | [`follow`] | following a service's events, whatever happens to it |
//! | [`holdings`] | asking a service what it holds |
//! | [`convert`] | what it answers as objects, within their bounds |
//! | [`health`] | whether services can work |
//! | [`machine`], [`gauge`] | what the machine has, and what it runs out of |

mod changes;
mod claim;
mod convert;
mod follow;
mod gauge;
mod health;
mod holdings;
mod machine;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_config::{Config, Service};
use berth_grpc::{Channel, channel};
use berth_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::keys::{Held, Kind};
use crate::truth::{Asked, Holdings, News, State, Truth};
use crate::{Error, Result};
use gauge::Gauges;
use health::Probe;
use machine::Disk;

pub use claim::claim;
pub use gauge::Thresholds;

/// How long the service that knows the root's number may take to say it.
const UUID_WITHIN: Duration = Duration::from_secs(10);
/// The most containers of unknown state that are asked for again.
const MAX_UNKNOWN: usize = 1000;

/// Where this node's services are, and what is looked at.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The socket of the service that keeps images.
    pub distribution: PathBuf,
    /// That of the service that keeps snapshots.
    pub bundle: PathBuf,
    /// That of the service that keeps containers and tasks.
    pub runtime: PathBuf,
    /// That of clients.
    pub gateway: PathBuf,
    /// The folder whose file system is looked at.
    pub root: PathBuf,
    /// From where on the machine runs out of something.
    pub thresholds: Thresholds,
    /// How often the node's state is looked at.
    pub period: Duration,
}

impl Settings {
    /// Those of a node with this configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            distribution: config.socket(Service::Distribution),
            bundle: config.socket(Service::Bundle),
            runtime: config.socket(Service::Runtime),
            gateway: config.socket(Service::Gateway),
            root: config.root.clone(),
            thresholds: Thresholds::default(),
            period: Duration::from_secs(5),
        }
    }
}

/// The services of this node.
pub struct NodeTruth {
    distribution: Channel,
    runtime: Channel,
    probes: Vec<Probe>,
    disk: Disk,
    period: Duration,
    looked: Mutex<Looked>,
    /// Namespaces in which blobs came or went.
    blobs: Pending<Arc<str>>,
    /// Containers whose state nobody could tell.
    unknown: Pending<Held>,
}

/// What was seen of the node's state.
struct Looked {
    gauges: Gauges,
    /// What whoever follows was told last.
    answered: Option<State>,
}

/// Things of which there is news, each once, until somebody takes them.
struct Pending<T>(Mutex<BTreeSet<T>>, Notify);

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self(Mutex::default(), Notify::new())
    }
}

impl NodeTruth {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { distribution, bundle, runtime, gateway, root, thresholds, period } =
            settings;
        Self {
            probes: vec![
                Probe::of_service("distribution", &distribution),
                Probe::of_service("bundle", &bundle),
                Probe::of_service("runtime", &runtime),
                Probe::of_gateway("gateway", &gateway),
            ],
            distribution: channel(&distribution),
            runtime: channel(&runtime),
            disk: Disk::of(root),
            period,
            looked: Mutex::new(Looked { gauges: Gauges::new(thresholds), answered: None }),
            blobs: Pending::default(),
            unknown: Pending::default(),
        }
    }

    /// The node's state, as it is seen.
    async fn see(&self) -> State {
        let (machine, services) =
            tokio::join!(machine::look(&self.disk), health::look(&self.probes));
        let pressure = self.looked().gauges.read(&machine);
        State { capacity: machine.capacity, services, pressure }
    }

    /// Tells when the node's state is not what was told last.
    async fn watch_state(&self, news: &mpsc::Sender<News>) {
        let mut tick = tokio::time::interval(self.period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let state = self.see().await;
            let is_new = self.looked().answered.as_ref() != Some(&state);
            if is_new && news.send(News::State).await.is_err() {
                return;
            }
        }
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        // Nothing that can panic stands between changes under this lock.
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Truth for NodeTruth {
    fn uuid(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async {
            let step = "ask for the root's number";
            let wrong = |reason| Error::Service { service: "distribution", step, reason };
            let mut client = IntrospectionClient::new(self.distribution.clone());
            match timeout(UUID_WITHIN, client.server(())).await {
                Ok(Ok(server)) if server.get_ref().uuid.is_empty() => {
                    Err(wrong("it has none".to_owned()))
                }
                Ok(Ok(server)) => Ok(server.into_inner().uuid),
                Ok(Err(status)) => Err(wrong(status.message().to_owned())),
                Err(_) => Err(wrong(format!("no answer within {UUID_WITHIN:?}"))),
            }
        })
    }

    fn follow(&self, news: mpsc::Sender<News>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let all = async {
                tokio::join!(
                    self.follow_distribution(&news),
                    self.follow_runtime(&news),
                    self.tell_blobs(&news),
                    self.tell_unknown(&news),
                    self.watch_state(&news),
                )
            };
            tokio::select! {
                () = news.closed() => {}
                _ = all => {}
            }
        })
    }

    fn ask(&self, asked: Asked) -> BoxFuture<'_, Result<Holdings>> {
        Box::pin(async move {
            let kind = match &asked {
                Asked::All(kind) | Asked::Namespace(kind, _) | Asked::These(kind, _) => *kind,
            };
            match kind {
                Kind::Nodes => Err(Error::Invalid("a node holds no nodes".to_owned())),
                Kind::Images => holdings::images(&self.distribution, asked).await,
                Kind::Containers => {
                    let held = holdings::containers(&self.runtime, asked).await?;
                    self.unknown.extend(holdings::unknown(&held), MAX_UNKNOWN);
                    Ok(held)
                }
            }
        })
    }

    fn state(&self) -> BoxFuture<'_, State> {
        Box::pin(async {
            let state = self.see().await;
            self.looked().answered = Some(state.clone());
            state
        })
    }

    fn look(&self) -> BoxFuture<'_, State> {
        Box::pin(self.see())
    }
}

impl<T: Ord> Pending<T> {
    /// Adds some, as long as there are not `most`.
    fn extend(&self, things: impl IntoIterator<Item = T>, most: usize) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for thing in things {
            if pending.len() < most {
                pending.insert(thing);
            }
        }
        if !pending.is_empty() {
            self.1.notify_one();
        }
    }

    /// Waits until there are some and so long, and takes all that there are then.
    async fn after(&self, pause: Duration) -> BTreeSet<T> {
        loop {
            self.1.notified().await;
            tokio::time::sleep(pause).await;
            let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_lifecycle::Tasks;
    use futures::TryStreamExt;
    use tokio_util::sync::CancellationToken;
    use tonic::service::Routes;

    use super::*;
    use crate::inspect::Itself;
    use crate::objects::{Node, Object};

    /// All services of a node at one socket.
    fn truth(socket: PathBuf) -> NodeTruth {
        NodeTruth::new(Settings {
            distribution: socket.clone(),
            bundle: socket.clone(),
            runtime: socket.clone(),
            gateway: socket,
            root: "/".into(),
            thresholds: Thresholds::default(),
            period: Duration::from_millis(50),
        })
    }

    #[tokio::test]
    async fn who_asks_the_node_about_itself_takes_no_news_from_who_follows() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("all");
        let (tasks, ending) = (Tasks::new(), CancellationToken::new());
        let routes = Routes::default().add_service(berth_grpc::health(ending.clone()));
        berth_grpc::server::serve(&socket, 0o600, routes, &tasks).unwrap();
        let truth = Arc::new(truth(socket));
        assert!(truth.state().await.services[0].serves);

        ending.cancel();
        let own = Arc::new(Itself::new("n".parse().unwrap(), truth.clone(), Node::default));
        let itself = own.describe().try_next().await.unwrap().unwrap();
        let (_, None, Object::Node(node)) = &itself[0] else { panic!("{itself:?}") };
        assert!(!node.services[0].serves, "{node:?}");

        let (sender, mut news) = mpsc::channel(10);
        let told = async { while news.recv().await.unwrap() != News::State {} };
        tokio::select! {
            () = truth.follow(sender) => panic!("somebody listens"),
            told = timeout(Duration::from_secs(60), told) => told.expect("it is told"),
        }
        tasks.drain(Duration::from_secs(10)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_pending_is_taken_once_and_bounded() {
        let pending = Pending::default();
        pending.extend([3, 1, 3], 10);
        pending.extend([2], 10);
        let pause = Duration::from_secs(2);
        assert_eq!(pending.after(pause).await, BTreeSet::from([1, 2, 3]));
        assert!(timeout(pause * 4, pending.after(pause)).await.is_err(), "there is no more");
        pending.extend([1, 2, 3], 2);
        assert_eq!(pending.after(pause).await, BTreeSet::from([1, 2]));
    }
}
