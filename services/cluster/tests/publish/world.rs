//! A real etcd, and nodes that publish there.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_cluster::keys::{Held, Kind, Layout};
use berth_cluster::objects::{Node, Object};
use berth_cluster::peers::etcd::{self, Entry, Etcd};
use berth_cluster::peers::stored;
use berth_cluster::publish::{Counts, Publisher, Registration, Settings, Standing};
use berth_lifecycle::Tasks;
use berth_testkit::{self as testkit, Fate, Passage};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::truth::Made;

/// How long anything may take on a slow machine.
pub const LONG: Duration = Duration::from_secs(120);

/// Waits until `check` has an answer.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(start.elapsed() < LONG, "{what}: not so after {LONG:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An etcd.
pub struct World {
    pub etcd: testkit::Etcd,
    pub layout: Layout,
}

/// A node that publishes.
pub struct Running {
    pub truth: Arc<Made>,
    pub counts: Arc<Counts>,
    pub standing: watch::Receiver<Standing>,
    name: &'static str,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

pub fn settings(name: &str, incarnation: &str) -> Settings {
    let address = format!("{incarnation}.{name}.example:7443");
    let node = Node {
        addresses: vec![address.clone()],
        peer_address: address,
        version: "1".into(),
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        ..Node::default()
    };
    Settings {
        layout: Layout::new(&"test".parse().unwrap()),
        name: name.parse().unwrap(),
        boot: "b".into(),
        incarnation: incarnation.into(),
        ttl: Duration::from_secs(60),
        writes_per_second: 10_000,
        batch: Duration::from_millis(100),
        max_objects: 1000,
        compare: Duration::from_secs(3600),
        node,
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(testkit::Etcd::start().unwrap())
    }

    pub fn with(etcd: testkit::Etcd) -> Self {
        Self { etcd, layout: settings("n", "i").layout }
    }

    fn settings(&self) -> etcd::Settings {
        let probe = self.layout.prefix().to_owned();
        etcd::Settings { endpoints: self.etcd.endpoints(), probe, ..etcd::Settings::default() }
    }

    /// A way to this etcd on which an answer is lost.
    pub fn passage(&self, words: &'static str, fate: Fate) -> Passage {
        Passage::new(self.etcd.endpoint().trim_start_matches("http://"), words, fate).unwrap()
    }

    /// Runs the node `n`, of incarnation `i`.
    pub fn run(&self, truth: &Arc<Made>) -> Running {
        self.run_as(truth, "n", settings("n", "i"))
    }

    /// The same, by way of this address.
    pub fn run_at(&self, truth: &Arc<Made>, address: &str) -> Running {
        let endpoints = vec![format!("http://{address}")];
        let etcd = etcd::Settings { endpoints, ..self.settings() };
        Self::run_with(truth, "n", settings("n", "i"), etcd)
    }

    pub fn run_as(&self, truth: &Arc<Made>, name: &'static str, settings: Settings) -> Running {
        Self::run_with(truth, name, settings, self.settings())
    }

    fn run_with(
        truth: &Arc<Made>,
        name: &'static str,
        settings: Settings,
        etcd: etcd::Settings,
    ) -> Running {
        let publisher = Publisher::new(settings, etcd, truth.clone());
        let (counts, standing) = (publisher.counts(), publisher.standing());
        let stop = CancellationToken::new();
        let ended = Tasks::new().spawn("publish", publisher.run(stop.clone()));
        Running { truth: truth.clone(), counts, standing, name, stop, ended }
    }

    /// All that begins so, by key.
    pub async fn read(&self, prefix: &str) -> Vec<Entry> {
        let etcd = Etcd::connect(&self.settings()).await.unwrap();
        let (mut entries, mut after): (Vec<Entry>, Option<Vec<u8>>) = Default::default();
        loop {
            let page = etcd.page(prefix, after.as_deref(), 0, 500).await.unwrap();
            entries.extend(page.entries);
            if !page.more {
                return entries;
            }
            after = entries.last().map(|entry| entry.key.to_vec());
        }
    }

    /// What etcd has of a node, by name.
    pub async fn held(&self, name: &str) -> BTreeMap<Held, Entry> {
        let mut held = BTreeMap::new();
        for kind in [Kind::Images, Kind::Containers] {
            for entry in self.read(&self.layout.of_node(kind, &name.parse().unwrap())).await {
                let key = String::from_utf8_lossy(&entry.key).into_owned();
                let (_, parsed) = self.layout.parse(&entry.key).unwrap_or_else(|_| panic!("{key}"));
                held.insert(parsed.unwrap(), entry);
            }
        }
        held
    }

    /// The node's own key.
    pub async fn node(&self, name: &str) -> Option<(Entry, Node)> {
        let key = self.layout.node(&name.parse().unwrap());
        let entry = self.read(&key).await.into_iter().find(|entry| entry.key == key)?;
        match stored::decode(Kind::Nodes, &entry.key, &entry.value).ok()? {
            Object::Node(node) => Some((entry, *node)),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until etcd has just what the node holds, under its lease.
    pub async fn whole(&self, running: &Running) -> BTreeMap<Held, Entry> {
        until("etcd has what the node holds", || async {
            let (node, _) = self.node(running.name).await?;
            let (held, expected) = (self.try_held(running.name).await?, running.truth.objects());
            let same = held.len() == expected.len()
                && expected.iter().all(|(name, object)| {
                    held.get(name).is_some_and(|entry| {
                        entry.value == stored::encode(object) && entry.lease == node.lease
                    })
                });
            (same && node.lease != 0).then_some(held)
        })
        .await
    }

    /// As [`World::held`]; nothing if there are other keys, too.
    async fn try_held(&self, name: &str) -> Option<BTreeMap<Held, Entry>> {
        let mut held = BTreeMap::new();
        for kind in [Kind::Images, Kind::Containers] {
            for entry in self.read(&self.layout.of_node(kind, &name.parse().unwrap())).await {
                let (_, parsed) = self.layout.parse(&entry.key).ok()?;
                held.insert(parsed?, entry);
            }
        }
        Some(held)
    }
}

impl Running {
    /// Waits until it stands so.
    pub async fn stands(&mut self, what: &str, so: impl FnMut(&Standing) -> bool) -> Standing {
        let waited = tokio::time::timeout(LONG, self.standing.wait_for(so)).await;
        match waited.map(|standing| standing.unwrap().clone()) {
            Ok(standing) => standing,
            Err(_) => panic!("{what}: {:?}", self.standing.borrow()),
        }
    }

    pub async fn registered(&mut self) -> Standing {
        self.stands("registered", |it| it.registration == Registration::Registered).await
    }

    /// As a process is stopped. Answers how long that took.
    pub async fn stop(self) -> Duration {
        let start = Instant::now();
        self.stop.cancel();
        self.ended.await.unwrap();
        start.elapsed()
    }

    /// As a process is killed.
    pub async fn kill(self) {
        self.ended.abort();
        assert!(self.ended.await.unwrap_err().is_cancelled());
    }
}
