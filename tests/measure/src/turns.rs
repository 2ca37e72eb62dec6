//! Two nodes taking turns, and runc alone beside them.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::daemon::{Node, Pair};
use crate::report;

/// What the turns of both nodes took, in the order of the turns.
#[derive(Debug, Default)]
pub struct Turns {
    containerd: Vec<Duration>,
    berth: Vec<Duration>,
}

/// The orders in which containerd (0), berth (1) and a third (2) take their turns, one a round: each
/// comes as often after the one as after the other, whose traces the kernel may still be clearing.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Lets both nodes do `step` in turn: one turn each that is not counted, then `rounds`, the order
/// changing each time. A step is told its number, which no other step of this call has.
pub async fn take(
    pair: &Pair,
    rounds: usize,
    step: impl AsyncFn(&Node, usize) -> Result<Duration>,
) -> Result<Turns> {
    take_beside(pair, rounds, || Ok(()), step).await
}

/// As [`take`], with a third that has its turn in each round too.
pub async fn take_beside(
    pair: &Pair,
    rounds: usize,
    third: impl Fn() -> Result<()>,
    step: impl AsyncFn(&Node, usize) -> Result<Duration>,
) -> Result<Turns> {
    let mut turns = Turns::default();
    for round in 0..=rounds {
        let mut took = [Duration::ZERO; 2];
        for place in ORDERS[round % ORDERS.len()] {
            match pair.nodes().get(place) {
                Some(node) => took[place] = step(node, 2 * round + place).await?,
                None => third()?,
            }
        }
        if round > 0 {
            turns.containerd.push(took[0]);
            turns.berth.push(took[1]);
        }
    }
    Ok(turns)
}

impl Turns {
    /// Prints the medians.
    pub fn report(&self, what: &str) {
        let (containerd, berth) = (median(&self.containerd), median(&self.berth));
        report::durations(what, containerd, berth, self.ratio(Duration::ZERO));
    }

    /// Prints what both add to a time that neither can help.
    pub fn report_beyond(&self, what: &str, floor: Duration) {
        let beyond = |turns: &[Duration]| median(turns).saturating_sub(floor);
        let (containerd, berth) = (beyond(&self.containerd), beyond(&self.berth));
        report::durations(what, containerd, berth, self.ratio(floor));
    }

    /// Prints throughputs, if each turn moved `bytes`.
    pub fn report_rate(&self, what: &str, bytes: u64) {
        let rate = |turns: &[Duration]| bytes as f64 / 1e6 / median(turns).as_secs_f64();
        report::figures(what, "MB/s", rate(&self.containerd), rate(&self.berth));
    }

    fn ratio(&self, floor: Duration) -> f64 {
        let beyond = |turn: &Duration| turn.saturating_sub(floor).as_secs_f64();
        let pairs = self.containerd.iter().zip(&self.berth);
        let mut ratios: Vec<f64> = pairs.map(|(c, b)| beyond(b) / beyond(c)).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// The middle one.
pub fn median(turns: &[Duration]) -> Duration {
    let mut sorted = turns.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// How long it takes.
pub async fn time<T>(work: impl Future<Output = Result<T>>) -> Result<Duration> {
    let began = Instant::now();
    work.await?;
    Ok(began.elapsed())
}
