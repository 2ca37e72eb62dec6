//! The nodes that publish: the real publishing code, each with a connection and a lease of its own.
//!
//! What they share is the process: its threads, its memory allocator, and the counters.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_cluster::keys::Layout;
use berth_cluster::objects::{Node, Published};
use berth_cluster::peers::etcd;
use berth_cluster::publish::{Counts, Publisher, Registration, Settings, Standing};
use berth_lifecycle::Tasks;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::chance::Chance;
use crate::made::{Made, Size};

/// So many nodes begin at once: they do not all boot in the same second.
const AT_ONCE: usize = 64;

/// How a fleet is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All that is made up follows from it.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// What each holds.
    pub size: Size,
    /// Different images in the cluster.
    pub catalog: usize,
    /// How long etcd waits for a node that says nothing.
    pub ttl: Duration,
    /// The most keys a node writes in a second.
    pub writes_per_second: u32,
    /// Changes of a node within it are written together.
    pub batch: Duration,
    /// How often a node compares what is in etcd with its truth.
    pub compare: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            nodes: 30,
            size: Size { containers: 30, images: 50 },
            catalog: 400,
            ttl: Duration::from_secs(15),
            writes_per_second: 100,
            batch: Duration::from_millis(100),
            compare: Duration::from_secs(600),
        }
    }
}

/// The nodes.
#[derive(Debug)]
pub struct Fleet {
    nodes: Vec<Arc<Made>>,
    standings: Vec<watch::Receiver<Standing>>,
    counts: Arc<Counts>,
    churn: CancellationToken,
    tasks: Tasks,
}

impl Fleet {
    /// Makes the nodes up, and lets them publish.
    ///
    /// # Errors
    /// When a name cannot be a key.
    pub fn start(plan: &Plan, layout: &Layout, etcd: &etcd::Settings) -> Result<Self> {
        let catalog = Arc::new(Catalog::new(plan.seed, plan.catalog)?);
        let mut fleet = Self {
            nodes: Vec::new(),
            standings: Vec::new(),
            counts: Arc::default(),
            churn: CancellationToken::new(),
            tasks: Tasks::new(),
        };
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        for number in 0..plan.nodes {
            let made = Arc::new(Made::new(plan.seed, number, catalog.clone(), plan.size)?);
            fleet.publish(plan, layout, etcd, &made, turns.clone());
            fleet.nodes.push(made);
        }
        Ok(fleet)
    }

    fn publish(
        &mut self,
        plan: &Plan,
        layout: &Layout,
        etcd: &etcd::Settings,
        made: &Arc<Made>,
        turns: Arc<Semaphore>,
    ) {
        let settings = Settings {
            layout: layout.clone(),
            name: made.name().clone(),
            boot: uuid::Uuid::new_v4().to_string(),
            incarnation: uuid::Uuid::new_v4().to_string(),
            ttl: plan.ttl,
            writes_per_second: plan.writes_per_second,
            batch: plan.batch,
            max_objects: 10_000,
            compare: plan.compare,
            node: static_part(self.nodes.len()),
        };
        let publisher = Publisher::new(settings, etcd.clone(), made.clone());
        let publisher = publisher.counting(self.counts.clone());
        let mut standing = publisher.standing();
        self.standings.push(standing.clone());
        let stop = self.tasks.token();
        // By itself on the heap: it is large, and goes through many hands.
        let run = Box::pin(publisher.run(stop.clone()));
        self.tasks.spawn("node", async move {
            let Some(turn) = stop.run_until_cancelled(turns.acquire_owned()).await else { return };
            // The turn is over when the node is registered.
            let registered = async move {
                let is = |now: &Standing| now.registration == Registration::Registered;
                let _ = standing.wait_for(is).await;
                drop(turn);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = run => {}
                () = registered => {}
            }
        });
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Made>] {
        &self.nodes
    }

    /// What all publishers have counted together.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many nodes are registered, and have nothing to write.
    #[must_use]
    pub fn settled(&self) -> usize {
        let settled = |standing: &&watch::Receiver<Standing>| {
            let now = standing.borrow();
            now.registration == Registration::Registered
                && now.waiting == 0
                && now.published != Published::default()
        };
        self.standings.iter().filter(settled).count()
    }

    /// Changes that etcd has not got yet, of all nodes.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.standings.iter().map(|standing| standing.borrow().waiting).sum()
    }

    /// What is in the way of the first node that has something.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.standings.iter().find_map(|standing| standing.borrow().trouble.clone())
    }

    /// Lets things happen on each node, `rate` of them in a second, until [`Fleet::rest`].
    pub fn churn(&mut self, seed: u64, rate: f64) {
        self.churn = CancellationToken::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let (node, stop) = (node.clone(), self.churn.clone());
            let mut chance = Chance::new(seed ^ 0x5ca1e, number as u64);
            self.tasks.spawn_endless("churn", async move {
                let mut next = tokio::time::Instant::now();
                loop {
                    // Late ones are made up for: the rate does not fall when the machine is busy.
                    next += chance.wait(rate);
                    let wait = tokio::time::sleep_until(next);
                    if stop.run_until_cancelled(wait).await.is_none() {
                        return;
                    }
                    if node.happen().await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    /// Nothing happens any more.
    pub fn rest(&self) {
        self.churn.cancel();
    }

    /// Waits until all are registered and have written what there was.
    ///
    /// # Errors
    /// When that takes longer, with how far they are and what is in the way.
    pub async fn settle(&self, patience: Duration) -> Result<()> {
        let all = self.nodes.len();
        let settled = crate::wait::until(patience, || self.settled() == all);
        settled.await.with_context(|| {
            format!("{} of {all} nodes have published, {:?}", self.settled(), self.trouble())
        })
    }

    /// Ends all nodes. Their leases run out.
    pub async fn stop(self, patience: Duration) {
        self.tasks.drain(patience).await;
    }
}

/// What of a node never changes.
fn static_part(number: usize) -> Node {
    let address = format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255);
    let labels = [
        ("topology.kubernetes.io/zone", format!("zone-{}", number % 3)),
        ("node.kubernetes.io/instance-type", "m5.4xlarge".to_owned()),
        ("example.com/rack", format!("rack-{:03}", number / 40)),
    ];
    Node {
        peer_address: format!("{address}:7443"),
        addresses: vec![address],
        version: env!("CARGO_PKG_VERSION").into(),
        labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
        ..Node::default()
    }
}
