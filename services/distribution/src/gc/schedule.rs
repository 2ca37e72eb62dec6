//! When collections run by themselves, as containerd's scheduler has it: after the start, after what
//! asks for one, and no more than a share of the time.
//!
//! Owns: the turn of the next collection. Must not know: what a collection does.
//!
//! containerd looks again and again whether there is something to collect. Here nothing wakes while
//! nothing has happened: what asks for a collection waits for the turn that is due by then.

use std::time::Duration;

use tokio::time::{sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::collect::Collector;
use super::demand::{Demand, Wish};

/// The shortest and the longest pause between tries after a collection that was given up.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Runs collections as they are asked for, until cancelled.
pub async fn run(collector: Collector, token: CancellationToken) {
    let work = async {
        let (demand, pace) = (collector.demand(), collector.pace());
        if pace.startup_delay > Duration::ZERO {
            // Until then only what asks for one at once is heard.
            let asked = timeout(pace.startup_delay, demand.wished(Wish::Now)).await;
            if asked.is_ok() {
                sleep(pace.schedule_delay).await;
            }
            until_done(&collector).await;
        }
        loop {
            await_turn(&collector, demand).await;
            until_done(&collector).await;
        }
    };
    token.run_until_cancelled(work).await;
}

/// Waits until a collection is asked for, and then for its turn, or for less if it is asked for at
/// once.
async fn await_turn(collector: &Collector, demand: &Demand) {
    while demand.wished(Wish::InTurn).await == Wish::InTurn {
        let turn = collector.load().turn(collector.pace().pause_threshold);
        tokio::select! {
            asked = timeout_at(turn, demand.wished(Wish::Now)) => if asked.is_ok() { break },
            // Its turn may be another one now.
            () = collector.repaced() => continue,
        }
        // Otherwise somebody has collected meanwhile.
        if demand.asks() {
            return;
        }
    }
    sleep(collector.pace().schedule_delay).await;
}

/// Tries until a collection comes to its end. Deletions that ask for one at once cut a long pause
/// short.
async fn until_done(collector: &Collector) {
    let (demand, mut pause) = (collector.demand(), SHORTEST_PAUSE);
    loop {
        match collector.collect().await {
            Ok(stats) => {
                tracing::debug!(?stats, "collected");
                return;
            }
            Err(error) => {
                tracing::info!(error = berth_errors::chain(&error), next = ?pause, "collection given up");
                let known = demand.known();
                sleep(SHORTEST_PAUSE).await;
                let longer = pause.saturating_sub(SHORTEST_PAUSE);
                // Not for those that the collection that was given up had been asked for by.
                let _ = timeout(longer, demand.wished_anew(known)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
