//! `berth-measure`: berth and Debian's containerd side by side on one machine.
//!
//! Owns: what is measured and how two nodes take turns, so that a machine whose speed drifts or
//! that has other work to do slows both. Must not know: anything of a node but its socket, its
//! processes and its clients.
//!
//! Every figure is a median of turns; a ratio is the median of the ratios turn by turn. Nothing
//! here fails on time. Needs root, runc, containerd, ctr, docker-registry, skopeo and busybox.

mod blobs;
mod calls;
mod client;
mod daemon;
mod exec;
mod images;
mod life;
mod lists;
mod memory;
mod pods;
mod pulls;
mod report;
mod runc;
mod start;
mod turns;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::daemon::Pair;

/// Measures berth beside Debian's containerd, in turns.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What to measure; all by default.
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// How many turns each takes; small calls take ten times as many.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Small calls: Version and the making of records.
    Calls,
    /// Listing a thousand containers.
    Lists,
    /// Blobs through the API.
    Blobs,
    /// Tasks: create, start, a container's whole life.
    Life,
    /// Executing in a running container.
    Exec,
    /// Pulls with unpacking, as whole commands.
    Pulls,
    /// From the start of the program to the first answers, empty and with 10,000 containers.
    Start,
    /// Memory of an idle node and of shims.
    Memory,
    /// Pods with a container each, as kubelets make them: time and memory.
    Pods,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments { sections, rounds } = Arguments::parse();
    let all = Section::value_variants();
    let chosen = if sections.is_empty() { all } else { &sections };
    for section in all.iter().filter(|section| chosen.contains(section)) {
        report::heading(section);
        measure(*section, rounds).await?;
    }
    Ok(())
}

/// Each section has two nodes of its own: what one leaves behind does not slow the next.
async fn measure(section: Section, rounds: usize) -> Result<()> {
    match section {
        Section::Start => return start::measure(rounds).await,
        Section::Memory => return memory::measure().await,
        Section::Pods => {
            // On a thread of its own, in a network namespace.
            return tokio::task::spawn_blocking(move || pods::measure(rounds)).await?;
        }
        _ => {}
    }
    let pair = Pair::start().await?;
    match section {
        Section::Calls => calls::measure(&pair, rounds * 10).await,
        Section::Lists => lists::measure(&pair, rounds).await,
        Section::Blobs => blobs::measure(&pair, rounds).await,
        Section::Life => life::measure(&pair, rounds).await,
        Section::Exec => exec::measure(&pair, rounds).await,
        Section::Pulls => pulls::measure(&pair, rounds).await,
        Section::Start | Section::Memory | Section::Pods => Ok(()),
    }
}
