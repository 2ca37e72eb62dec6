//! One measurement: nodes of a number publish, some read, things happen, and then all must be the same.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_cluster::keys::Layout;
use berth_cluster::peers::etcd;
use berth_testkit::{Etcd, EtcdOptions};
use tokio::time::{Instant, sleep};

use crate::apart::{Apart, Said};
use crate::fleet::{Fleet, Plan};
use crate::member::Figures;
use crate::reader::Reader;
use crate::{compare, machine, wait};

/// The cluster's name.
pub const CLUSTER: &str = "scale";
/// How long all nodes may take to publish everything for the first time.
const PUBLISHES: Duration = Duration::from_secs(900);
/// How long what happened last may take to be seen everywhere.
const CONVERGES: Duration = Duration::from_secs(600);
/// Before it is measured, things happen for so long.
const WARM: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Load {
    /// The nodes.
    pub plan: Plan,
    /// Changes on each node in a second.
    pub changes: f64,
    /// Nodes that read, one of them in a process of its own.
    pub readers: usize,
    /// For how long.
    pub time: Duration,
    /// More of etcd's options.
    pub etcd: Vec<String>,
    /// So many more begin to read in one moment, when the rest is over.
    pub at_once: usize,
    /// After all that etcd loses its data.
    pub lost: bool,
}

/// What came of it. Rates are in a second, memory is in bytes, processors are those kept busy.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the table names them")]
pub struct Row {
    pub nodes: usize,
    pub changes: f64,
    pub readers: usize,
    pub keys: f64,
    pub published: Duration,
    pub listed_alone: Duration,
    pub listed_among: Duration,
    pub transactions: f64,
    pub written: f64,
    pub renewals: f64,
    pub ranges: f64,
    pub fan_out: f64,
    pub database: f64,
    pub in_use: f64,
    pub growth: f64,
    pub etcd_processor: f64,
    pub etcd_memory: f64,
    pub fsync: Duration,
    pub own_processor: f64,
    pub other_processor: f64,
    pub reader: Said,
    pub reader_processor: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub worst: Duration,
    pub samples: usize,
    pub waiting: u64,
    pub relists: u64,
    pub failures: u64,
    pub converged: Duration,
    pub listed_at_once: Duration,
    pub recovered: Duration,
}

/// The settings of everybody's connection.
#[must_use]
pub fn settings(endpoint: &str, layout: &Layout) -> etcd::Settings {
    let (endpoints, probe) = (vec![endpoint.to_owned()], format!("{}probe", layout.prefix()));
    etcd::Settings { endpoints, probe, ..etcd::Settings::default() }
}

/// Where everything lies.
///
/// # Errors
/// When that is no name of a cluster.
pub fn layout(cluster: &str) -> Result<Layout> {
    Ok(Layout::new(&cluster.parse()?))
}

/// Measures a load. `own` is the program that reads, in a process of its own.
///
/// # Errors
/// When anything goes wrong, or a view is in the end not what the nodes hold.
pub async fn measure(load: &Load, own: &Path) -> Result<Row> {
    machine::raise_descriptors()?;
    let options = EtcdOptions { args: load.etcd.clone(), ..EtcdOptions::default() };
    let mut etcd = Etcd::start_with(&options)?;
    let layout = layout(CLUSTER)?;
    let settings = settings(&etcd.endpoint(), &layout);
    let mut row = Row {
        nodes: load.plan.nodes,
        changes: load.changes,
        readers: load.readers,
        ..Row::default()
    };

    let begin = Instant::now();
    let mut fleet = Fleet::start(&load.plan, &layout, &settings)?;
    fleet.settle(PUBLISHES).await?;
    row.published = begin.elapsed();
    eprintln!("all nodes have published everything after {:.1?}", row.published);

    let mut apart = Apart::start(own, CLUSTER, &etcd.endpoint())?;
    row.listed_alone = Duration::from_millis(apart.said().await?.listed);
    eprintln!("a reader had everything after {:.1?}", row.listed_alone);
    let mut readers = Vec::new();
    for _ in 1..load.readers.max(2) {
        // One after the other: readers do not begin in the same second, either.
        let reader = Reader::start(&layout, &settings);
        row.listed_among = row.listed_among.max(reader.ready().await?);
        readers.push(reader);
    }

    fleet.churn(load.plan.seed, load.changes);
    sleep(WARM).await;
    window(load, &etcd, &fleet, &readers, &mut apart, &mut row).await?;

    fleet.rest();
    let rested = Instant::now();
    fleet.settle(CONVERGES).await?;
    for reader in &readers {
        compare::equal(&fleet, reader.views(), CONVERGES).await?;
    }
    row.converged = rested.elapsed();
    eprintln!("all views are what the nodes hold after {:.1?}", row.converged);
    if load.at_once > 0 {
        row.listed_at_once = at_once(load.at_once, &layout, &settings).await?;
    }
    if load.lost {
        row.recovered = lost(&mut etcd, &fleet, &readers).await?;
    }
    for reader in readers {
        reader.stop().await;
    }
    drop(apart);
    fleet.stop(Duration::from_secs(30)).await;
    Ok(row)
}

/// So many more nodes begin to read at the same time. Answers how long the slowest waited for everything.
async fn at_once(count: usize, layout: &Layout, settings: &etcd::Settings) -> Result<Duration> {
    let readers: Vec<_> = (0..count).map(|_| Reader::start(layout, settings)).collect();
    let mut slowest = Duration::ZERO;
    for reader in &readers {
        slowest = slowest.max(reader.ready().await?);
    }
    for reader in readers {
        reader.stop().await;
    }
    Ok(slowest)
}

/// Etcd comes back without anything. Answers how long it took until it had all again, and each view too.
async fn lost(etcd: &mut Etcd, fleet: &Fleet, readers: &[Reader]) -> Result<Duration> {
    let before = fleet.counts().registrations();
    tokio::task::block_in_place(|| etcd.wipe())?;
    let begin = Instant::now();
    let all = before + fleet.nodes().len() as u64;
    wait::until(CONVERGES, || fleet.counts().registrations() >= all).await?;
    eprintln!("all nodes are registered again after {:.1?}", begin.elapsed());
    fleet.settle(CONVERGES).await?;
    for reader in readers {
        compare::equal(fleet, reader.views(), CONVERGES).await?;
    }
    Ok(begin.elapsed())
}

/// The counters of everybody at a moment.
struct Moment {
    at: Instant,
    etcd: Figures,
    processors: [f64; 3],
    told: u64,
    transactions: u64,
    written: u64,
}

impl Moment {
    async fn now(etcd: &Etcd, fleet: &Fleet, readers: &[Reader], apart: &Said) -> Result<Self> {
        let counts = fleet.counts();
        let own = std::process::id();
        Ok(Self {
            at: Instant::now(),
            etcd: Figures::of(&etcd.endpoint()).await?,
            processors: [
                machine::processor(etcd.pid())?,
                machine::processor(own)?,
                machine::busy()?,
            ],
            told: readers.iter().map(Reader::changes).sum::<u64>() + apart.changes,
            transactions: counts.transactions(),
            written: counts.keys_written() + counts.keys_deleted(),
        })
    }
}

async fn window(
    load: &Load,
    etcd: &Etcd,
    fleet: &Fleet,
    readers: &[Reader],
    apart: &mut Apart,
    row: &mut Row,
) -> Result<()> {
    readers.iter().for_each(|reader| drop(reader.late()));
    let first_said = apart.ask().await?;
    let relists = |said: &Said| readers.iter().map(Reader::relists).sum::<u64>() + said.relists;
    let first_relists = relists(&first_said);
    let first_failures = fleet.counts().failures();
    let first = Moment::now(etcd, fleet, readers, &first_said).await?;
    sleep(load.time).await;
    let last_said = apart.ask().await?;
    let last = Moment::now(etcd, fleet, readers, &last_said).await?;

    row.reader = last_said;
    row.relists = relists(&last_said) - first_relists;
    row.failures = fleet.counts().failures() - first_failures;
    row.waiting = fleet.waiting();
    if let Some(trouble) = fleet.trouble() {
        eprintln!("in the way of a node: {trouble}");
    }
    let broken = readers.iter().find_map(Reader::broken);
    ensure!(broken.is_none(), "a watch has broken: {broken:?}");
    late(readers, row)?;
    let seconds = (last.at - first.at).as_secs_f64();
    let said = (last_said.processor - first_said.processor) as f64 / 1e3;
    row.reader_processor = said / seconds;
    rates(&first, &last, said, row);
    Ok(())
}

/// How late changes came to the readers.
fn late(readers: &[Reader], row: &mut Row) -> Result<()> {
    let mut late: Vec<u32> = readers.iter().flat_map(Reader::late).collect();
    late.sort_unstable();
    let part = |part: f64| {
        let at = ((late.len() as f64 * part) as usize).min(late.len().saturating_sub(1));
        let micros = late.get(at).context("nobody was told anything");
        micros.map(|micros| Duration::from_micros(u64::from(*micros)))
    };
    (row.p50, row.p99, row.worst) = (part(0.5)?, part(0.99)?, part(1.0)?);
    row.samples = late.len();
    Ok(())
}

fn rates(first: &Moment, last: &Moment, reader: f64, row: &mut Row) {
    let seconds = (last.at - first.at).as_secs_f64();
    let rate = |first: f64, last: f64| (last - first) / seconds;
    let of =
        |name: &str, label: &str| rate(first.etcd.sum(name, label), last.etcd.sum(name, label));
    row.transactions = rate(first.transactions as f64, last.transactions as f64);
    row.written = rate(first.written as f64, last.written as f64);
    row.fan_out = rate(first.told as f64, last.told as f64);
    row.renewals = of("grpc_server_msg_received_total", "LeaseKeepAlive");
    row.ranges = of("grpc_server_handled_total", "grpc_method=\"Range\"");
    row.keys = last.etcd.get("etcd_debugging_mvcc_keys_total");
    row.database = last.etcd.get("etcd_mvcc_db_total_size_in_bytes");
    row.in_use = last.etcd.get("etcd_mvcc_db_total_size_in_use_in_bytes");
    row.growth = of("etcd_mvcc_db_total_size_in_use_in_bytes", "");
    row.etcd_memory = last.etcd.get("process_resident_memory_bytes");
    let fsync = "etcd_disk_wal_fsync_duration_seconds";
    let (sum, count) = (format!("{fsync}_sum"), format!("{fsync}_count"));
    let mean = of(&sum, "") / of(&count, "").max(f64::MIN_POSITIVE);
    row.fsync = Duration::try_from_secs_f64(mean).unwrap_or_default();
    let [etcd, own, busy] =
        std::array::from_fn(|at| rate(first.processors[at], last.processors[at]));
    (row.etcd_processor, row.own_processor) = (etcd, own);
    row.other_processor = (busy - etcd - own - reader / seconds).max(0.0);
}
