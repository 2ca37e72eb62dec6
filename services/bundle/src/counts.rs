//! What this service counts, and what it looks up when somebody asks.
//!
//! Snapshots are counted by reading the store's records of them: a few microseconds each, on a thread
//! of its own, and only when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};

use berth_lifecycle::Turns;
use berth_metrics::{Groups, Names, Samples, Work};
use berth_store::Store;

use crate::Error;
use crate::snapshots::{Kind, every_snapshot};

/// Snapshotters that are told apart. Their names are configured.
const SNAPSHOTTERS: usize = 32;
/// Namespaces that are told apart.
const NAMESPACES: usize = 64;

/// Layers that distribution has extracted.
pub static LAYERS: Work = Work::new();
static UNPACKED: AtomicU64 = AtomicU64::new(0);

/// A layer was extracted from a tar of so many bytes.
pub fn unpacked(bytes: u64) {
    UNPACKED.fetch_add(bytes, Ordering::Relaxed);
}

/// Has all of it told with the metrics of the process.
pub fn register(store: &Store, turns: &Turns) {
    let turns = turns.clone();
    berth_metrics::counted(Names::Ours, "bundle", move |samples| tell(&turns, samples));
    let store = store.clone();
    berth_metrics::walked("snapshots", move |samples| tell_snapshots(&store, samples));
}

fn tell(turns: &Turns, samples: &mut Samples) {
    for (outcome, times) in LAYERS.outcomes() {
        let help = "How long it took to extract layers, their arrival included, by outcome";
        samples.times("berth_layer_seconds", help).histogram(&[("outcome", outcome)], times);
    }
    let help = "Layers that are being extracted, or wait for their turn";
    samples.gauge("berth_layers_under_way", help).sample(&[], LAYERS.under_way());
    let help = "Bytes of plain tar that were extracted";
    samples
        .counter("berth_layers_unpacked_bytes_total", help)
        .sample(&[], UNPACKED.load(Ordering::Relaxed));
    if let Some(free) = turns.free() {
        let help = "Layers that could be extracted now without waiting for others";
        samples.gauge("berth_layer_turns_free", help).sample(&[], free);
    }
}

/// Of one snapshotter.
#[derive(Default)]
struct Count {
    kinds: [u64; 3],
    bytes: u64,
}

/// Of one namespace, by snapshotter.
struct Counts(Groups<Count>);

impl Default for Counts {
    fn default() -> Self {
        Self(Groups::new(SNAPSHOTTERS))
    }
}

/// The snapshots that there are, by namespace.
struct Found(Groups<Counts>);

impl Found {
    fn nothing() -> Self {
        Self(Groups::new(NAMESPACES))
    }

    fn add(&mut self, namespace: &str, snapshotter: &str, kind: Kind, bytes: u64) {
        let count = self.0.of(namespace).0.of(snapshotter);
        count.kinds[match kind {
            Kind::View => 0,
            Kind::Active => 1,
            Kind::Committed => 2,
        }] += 1;
        count.bytes += bytes;
    }

    fn tell(&self, samples: &mut Samples) {
        let each = self.0.iter().flat_map(|(namespace, counts)| {
            counts.0.iter().map(move |(snapshotter, count)| (namespace, snapshotter, count))
        });
        for (namespace, snapshotter, Count { kinds, bytes }) in each {
            let of = [("namespace", namespace), ("snapshotter", snapshotter)];
            for (kind, count) in ["view", "active", "committed"].into_iter().zip(kinds) {
                let labels = [of[0], of[1], ("kind", kind)];
                samples.gauge("berth_snapshots", "Snapshots").sample(&labels, *count);
            }
            let help =
                "Bytes of committed snapshots without their parents, as far as they are known";
            samples.gauge("berth_snapshots_bytes", help).sample(&of, *bytes);
        }
    }
}

fn tell_snapshots(store: &Store, samples: &mut Samples) -> Result<(), Error> {
    let mut found = Found::nothing();
    every_snapshot(store, |namespace, snapshotter, kind, usage| {
        found.add(namespace, snapshotter, kind, usage.map_or(0, |usage| usage.size));
    })?;
    found.tell(samples);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_of_too_many_namespaces_and_snapshotters_are_counted_together() {
        let told = |found: &Found| {
            let mut samples = Samples::default();
            found.tell(&mut samples);
            samples.text()
        };
        let many = |text: &str| text.lines().filter(|l| l.contains("kind=\"view\"")).count();
        let mut found = Found::nothing();
        for number in 0..NAMESPACES + 3 {
            found.add(&format!("n{number}"), "native", Kind::View, 0);
        }
        let text = told(&found);
        assert_eq!(many(&text), NAMESPACES + 1, "{text}");
        let of = "namespace=\"other\",snapshotter=\"native\",kind=\"view\"";
        assert!(text.contains(&format!("\nberth_snapshots{{{of}}} 3\n")), "{text}");

        let mut found = Found::nothing();
        for number in 0..SNAPSHOTTERS + 3 {
            found.add("n", &format!("s{number}"), Kind::View, 0);
        }
        let text = told(&found);
        assert_eq!(many(&text), SNAPSHOTTERS + 1, "{text}");
        let of = "namespace=\"n\",snapshotter=\"other\",kind=\"view\"";
        assert!(text.contains(&format!("\nberth_snapshots{{{of}}} 3\n")), "{text}");
    }
}
