//! `berth-scale`: what clusters of some sizes cost, measured on one machine.
//!
//! Shared among the simulated nodes are the process and its threads. Each has a connection to etcd, a lease
//! and a publisher of its own; each reader has a connection and views of its own. Nothing here fails on time.
//! Needs etcd and etcdctl.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_scale::fleet::Plan;
use berth_scale::made::Size;
use berth_scale::run::{self, Load};
use berth_scale::{apart, report};
use clap::{Args, Parser, Subcommand};

/// Measures clusters of simulated nodes on a real etcd.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    load: Flags,
}

#[derive(Subcommand)]
enum Verb {
    /// Reads, and says how much memory that takes. For this program itself.
    Read {
        /// The cluster's name.
        #[arg(long)]
        cluster: String,
        /// Where etcd is.
        #[arg(long)]
        endpoint: String,
    },
}

#[derive(Args)]
struct Flags {
    /// Numbers of nodes, each measured by itself.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,5000")]
    nodes: Vec<usize>,
    /// Changes on each node in a second.
    #[arg(long, default_value_t = 1.0)]
    changes: f64,
    /// Nodes that read; one of them is a process of its own.
    #[arg(long, default_value_t = 10)]
    readers: usize,
    /// How long is measured.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Containers on each node.
    #[arg(long, default_value_t = 30)]
    containers: usize,
    /// Images on each node.
    #[arg(long, default_value_t = 50)]
    images: usize,
    /// Different images in the cluster.
    #[arg(long, default_value_t = 400)]
    catalog: usize,
    /// All that is made up follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long etcd waits for a node that says nothing, in seconds: a node renews its lease three times in it.
    #[arg(long, default_value_t = 15)]
    lease: u64,
    /// Changes of a node within so many milliseconds are written together.
    #[arg(long, default_value_t = 100)]
    batch: u64,
    /// So many more nodes begin to read in one moment, at the end.
    #[arg(long, default_value_t = 10)]
    at_once: usize,
    /// Etcd loses its data at the end, and it is measured how long it takes until all is there again.
    #[arg(long)]
    lost: bool,
    /// More options of etcd.
    #[arg(long, allow_hyphen_values = true, default_values = ["--auto-compaction-retention=5m", "--quota-backend-bytes=8589934592"])]
    etcd: Vec<String>,
}

impl Flags {
    fn load(&self, nodes: usize) -> Load {
        let plan = Plan {
            seed: self.seed,
            nodes,
            size: Size { containers: self.containers, images: self.images },
            catalog: self.catalog,
            ttl: Duration::from_secs(self.lease),
            batch: Duration::from_millis(self.batch),
            ..Plan::default()
        };
        let time = Duration::from_secs(self.seconds);
        Load {
            plan,
            changes: self.changes,
            readers: self.readers,
            time,
            etcd: self.etcd.clone(),
            at_once: self.at_once,
            lost: self.lost,
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { verb, load } = Arguments::parse();
    if let Some(Verb::Read { cluster, endpoint }) = verb {
        let layout = run::layout(&cluster)?;
        let settings = run::settings(&endpoint, &layout);
        return apart::read(layout, settings).await;
    }
    let own = std::env::current_exe().context("find this program's own path")?;
    let mut rows = Vec::new();
    for nodes in &load.nodes {
        eprintln!("{nodes} nodes, {} changes a second on each", load.changes);
        let load = load.load(*nodes);
        // What was started ends with the measurement, also when that is broken off.
        let row = tokio::select! {
            row = run::measure(&load, &own) => row,
            _ = tokio::signal::ctrl_c() => bail!("broken off"),
        };
        rows.push(row.with_context(|| format!("{nodes} nodes"))?);
        // What is there is not lost when a later one fails.
        eprintln!("{}", report::table(&rows[rows.len() - 1..]));
    }
    println!(
        "{} changes a second on each node, {} readers, {} s:\n\n{}",
        load.changes,
        load.readers,
        load.seconds,
        report::table(&rows)
    );
    Ok(())
}
