//! What views count, and what is looked up of them when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};

use berth_metrics::{Names, Samples};

use super::Views;
use super::reason::Reason;

/// What happened to the views of one kind, whichever was there.
#[derive(Debug, Default)]
pub(super) struct Counts {
    changes: AtomicU64,
    reconnects: AtomicU64,
    listed: [AtomicU64; Reason::ALL.len()],
}

impl Counts {
    /// So many changes came.
    pub fn changed(&self, changes: u64) {
        self.changes.fetch_add(changes, Ordering::Relaxed);
    }

    /// A watch was made in place of one that had ended.
    pub fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// All was listed once more.
    pub fn listed_again(&self, reason: Reason) {
        self.listed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so.
    pub fn listings(&self, reason: Reason) -> u64 {
        self.listed[reason as usize].load(Ordering::Relaxed)
    }
}

/// Has all of it told with the metrics of the process.
pub(super) fn register(views: Views) {
    berth_metrics::counted(Names::Ours, "cluster views", move |samples| tell(&views, samples));
}

fn tell(views: &Views, samples: &mut Samples) {
    for (kind, counts) in views.counts() {
        let labels = [("kind", kind.name())];
        let help = "Changes that came from etcd";
        let changes = counts.changes.load(Ordering::Relaxed);
        samples.counter("berth_cluster_view_changes_total", help).sample(&labels, changes);
        let help = "Watches of etcd that were made in place of one that had ended";
        let reconnects = counts.reconnects.load(Ordering::Relaxed);
        samples.counter("berth_cluster_reconnects_total", help).sample(&labels, reconnects);
        for reason in Reason::ALL {
            let help = "Listings of all objects of a view that was there already, by their cause";
            let labels = [("kind", kind.name()), ("reason", reason.name())];
            let listings = counts.listings(reason);
            samples.counter("berth_cluster_view_relists_total", help).sample(&labels, listings);
        }
    }
    for kept in views.kept() {
        let labels = [("kind", kept.kind.name())];
        let mut gauge = |name, help, value: f64| samples.gauge(name, help).sample(&labels, value);
        let age = kept.worth.age.as_secs_f64();
        gauge("berth_cluster_view_objects", "Objects of a view", kept.objects as f64);
        gauge("berth_cluster_view_age_seconds", "Since etcd last said anything to a view", age);
        let help = "Lists and watches that read a view now";
        gauge("berth_cluster_view_readers", help, kept.readers as f64);
        let help = "Objects in etcd that a view does not show: not readable, or too many";
        gauge("berth_cluster_view_unreadable", help, kept.worth.unshown as f64);
        let help = "Changes that the slowest watcher of a view has before it";
        gauge("berth_cluster_view_lag", help, kept.lag as f64);
    }
}
