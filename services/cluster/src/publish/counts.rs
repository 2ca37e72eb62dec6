//! What publishing counts, and how it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use berth_errors::{Code, Coded};
use berth_metrics::{Bounded, Names, Samples, Times};
use tokio::sync::watch;

use super::Standing;
use crate::Error;

/// What happened since the process began.
#[derive(Debug)]
pub struct Counts {
    pub(super) puts: AtomicU64,
    pub(super) deletes: AtomicU64,
    pub(super) transactions: AtomicU64,
    pub(super) registrations: AtomicU64,
    repaired: AtomicU64,
    failures: Bounded<AtomicU64>,
    pub(super) took: Times,
}

impl Default for Counts {
    fn default() -> Self {
        // There are no more codes. Those that are likely are told before the first of them, too: what goes
        // from nothing to one is no increase.
        let failures: Bounded<AtomicU64> = Bounded::new(16);
        for code in [Code::Unavailable, Code::ResourceExhausted, Code::PermissionDenied] {
            failures.of(code.words());
        }
        Self {
            puts: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            registrations: AtomicU64::new(0),
            repaired: AtomicU64::new(0),
            failures,
            took: Times::new(),
        }
    }
}

impl Counts {
    /// Keys written.
    #[must_use]
    pub fn keys_written(&self) -> u64 {
        self.puts.load(Ordering::Relaxed)
    }

    /// Keys deleted.
    #[must_use]
    pub fn keys_deleted(&self) -> u64 {
        self.deletes.load(Ordering::Relaxed)
    }

    /// Transactions that were made.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Registrations that were made.
    #[must_use]
    pub fn registrations(&self) -> u64 {
        self.registrations.load(Ordering::Relaxed)
    }

    /// Keys that were not in etcd as they had been written.
    #[must_use]
    pub fn repaired(&self) -> u64 {
        self.repaired.load(Ordering::Relaxed)
    }

    /// Failures at etcd, of all codes.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let mut all = 0;
        self.failures.each(|_, count| all += count.load(Ordering::Relaxed));
        all
    }

    /// How long it took from a change's news until etcd had it.
    #[must_use]
    pub fn took(&self) -> &Times {
        &self.took
    }

    pub(super) fn add_repaired(&self, keys: u64) {
        self.repaired.fetch_add(keys, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, error: &Error) {
        self.failures.of(error.code().words()).fetch_add(1, Ordering::Relaxed);
    }

    fn tell(&self, standing: &Standing, samples: &mut Samples) {
        let counters = [
            ("berth_cluster_writes_total", "Keys written to etcd", &self.puts),
            ("berth_cluster_deletes_total", "Keys deleted in etcd", &self.deletes),
            ("berth_cluster_transactions_total", "Writes to etcd as a whole", &self.transactions),
            ("berth_cluster_registrations_total", "Registrations of the node", &self.registrations),
            (
                "berth_cluster_repaired_total",
                "Keys that were not in etcd as the node had written them",
                &self.repaired,
            ),
        ];
        for (name, help, count) in counters {
            samples.counter(name, help).sample(&[], count.load(Ordering::Relaxed));
        }
        self.failures.each(|code, count| {
            let help = "What publishing could not do at etcd, by the failure's code";
            let count = count.load(Ordering::Relaxed);
            samples.counter("berth_cluster_failures_total", help).sample(&[("code", code)], count);
        });
        let help = "How long it took from a change's news until etcd had it";
        samples.times("berth_cluster_publish_seconds", help).histogram(&[], &self.took);
        let help = "Changes that etcd has not got yet";
        samples.gauge("berth_cluster_waiting", help).sample(&[], standing.waiting);
        let help = "What is not published, beyond the bounds of a node";
        samples.gauge("berth_cluster_left_out", help).sample(&[], standing.published.left_out);
        let registered = u8::from(standing.registration == super::Registration::Registered);
        let help = "Whether the node is registered at etcd";
        samples.gauge("berth_cluster_registered", help).sample(&[], registered);
    }
}

/// Has all of it told with the metrics of the process.
pub fn register(counts: Arc<Counts>, standing: watch::Receiver<Standing>) {
    berth_metrics::counted(Names::Ours, "cluster-publish", move |samples| {
        counts.tell(&standing.borrow(), samples);
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn all_is_told() {
        let counts = Arc::new(Counts::default());
        let standing = super::super::standing::channel();
        register(counts.clone(), standing.subscribe());
        counts.puts.fetch_add(3, Ordering::Relaxed);
        counts.took.count(Duration::from_millis(3));
        counts.failed(&Error::Displaced("n".into()));
        standing.send_modify(|standing| {
            standing.waiting = 2;
            standing.published.left_out = 7;
        });
        let text = berth_metrics::all().await;
        for line in [
            "berth_cluster_writes_total 3",
            "berth_cluster_deletes_total 0",
            "berth_cluster_transactions_total 0",
            "berth_cluster_registrations_total 0",
            "berth_cluster_repaired_total 0",
            "berth_cluster_failures_total{code=\"aborted\"} 1",
            "berth_cluster_publish_seconds_count 1",
            "berth_cluster_waiting 2",
            "berth_cluster_left_out 7",
            "berth_cluster_registered 0",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is not in {text}");
        }
    }
}
