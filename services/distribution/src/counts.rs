//! What this service counts, and what it looks up when somebody asks.
//!
//! What happens is counted where it happens, by additions alone. What there is, is read from the store:
//! it is what the store says, also after a restart, and costs nothing in between. Reading it goes once
//! over the keys of three tables and the sizes of blobs: about a microsecond each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use berth_metrics::{Bounded, Groups, Names, Samples, Work};

use crate::Distribution;
use crate::error::Error;
use crate::gc::stats::Stats;
use crate::records::{HOLDERS, IMAGES, LEASES};

/// Registries that are told apart.
const HOSTS: usize = 32;
/// Namespaces that are told apart.
const NAMESPACES: usize = 64;
/// Kinds of things that are told apart.
const KINDS: usize = 64;

/// Transfers, by what they do.
pub static PULLS: Work = Work::new();
/// Of images to registries.
pub static PUSHES: Work = Work::new();
/// Of archives to images.
pub static IMPORTS: Work = Work::new();
/// Of images to archives.
pub static EXPORTS: Work = Work::new();

/// The stages of a transfer: which manifest a name stands for.
pub static RESOLVE: Work = Work::new();
/// One blob or manifest from the registry into the store.
pub static FETCH: Work = Work::new();
/// One layer into a staging folder, while it arrives or from its blob.
pub static UNPACK: Work = Work::new();
/// One staged layer made a snapshot.
pub static COMMIT: Work = Work::new();
/// One blob to the registry.
pub static UPLOAD: Work = Work::new();

/// Collections.
pub static COLLECTIONS: Work = Work::new();
static REMOVED: Bounded<AtomicU64> = Bounded::new(KINDS);
static FREED: AtomicU64 = AtomicU64::new(0);

/// What went between a registry and here.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// Bytes of a body came.
    pub fn came(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of a body went.
    pub fn went(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// By the registry's host, which has answered before anything is counted.
pub static REGISTRIES: Bounded<Traffic> = Bounded::new(HOSTS);

/// A collection has removed something.
pub fn collected(stats: &Stats) {
    for (kind, count) in &stats.dropped {
        REMOVED.of(kind).fetch_add(*count, Ordering::Relaxed);
    }
    FREED.fetch_add(stats.bytes, Ordering::Relaxed);
}

/// Has all of it told with the metrics of the process.
pub fn register(node: &Distribution) {
    berth_metrics::counted(Names::Ours, "distribution", tell);
    berth_metrics::counted(Names::Containerds, "collections", tell_collections_as_containerd);
    let content = node.content.clone();
    let ingests = move |samples: &mut Samples| tell_ingests(&content, samples);
    berth_metrics::counted(Names::Ours, "ingests", ingests);
    let store = node.store.clone();
    berth_metrics::walked("content", move |samples| tell_stored(&store, samples));
}

fn tell(samples: &mut Samples) {
    let kinds = [("pull", &PULLS), ("push", &PUSHES), ("import", &IMPORTS), ("export", &EXPORTS)];
    for (kind, work) in kinds {
        for (outcome, times) in work.outcomes() {
            let help = "How long transfers of images took, by kind and outcome";
            let labels = [("kind", kind), ("outcome", outcome)];
            samples.times("berth_transfer_seconds", help).histogram(&labels, times);
        }
        let (help, labels) = ("Transfers of images under way", [("kind", kind)]);
        samples.gauge("berth_transfers_under_way", help).sample(&labels, work.under_way());
    }
    let stages = [
        ("resolve", &RESOLVE),
        ("fetch", &FETCH),
        ("unpack", &UNPACK),
        ("commit", &COMMIT),
        ("upload", &UPLOAD),
    ];
    for (stage, work) in stages {
        for (outcome, times) in work.outcomes() {
            let help = "How long the stages of transfers took, each for one name, blob or layer";
            let labels = [("stage", stage), ("outcome", outcome)];
            samples.times("berth_transfer_stage_seconds", help).histogram(&labels, times);
        }
        let (help, labels) = ("Stages of transfers under way", [("stage", stage)]);
        samples.gauge("berth_transfer_stages_under_way", help).sample(&labels, work.under_way());
    }
    REGISTRIES.each(|host, traffic| {
        let labels = [("host", host)];
        let help = "Bytes of manifests and blobs that came from a registry";
        let received = traffic.received.load(Ordering::Relaxed);
        samples.counter("berth_registry_received_bytes_total", help).sample(&labels, received);
        let help = "Bytes of manifests and blobs that went to a registry";
        let sent = traffic.sent.load(Ordering::Relaxed);
        samples.counter("berth_registry_sent_bytes_total", help).sample(&labels, sent);
    });
    tell_collections(samples);
}

fn tell_collections(samples: &mut Samples) {
    for (outcome, times) in COLLECTIONS.outcomes() {
        let help = "How long collections of what nothing refers to took, by outcome";
        samples.times("berth_gc_seconds", help).histogram(&[("outcome", outcome)], times);
    }
    REMOVED.each(|kind, count| {
        let help = "What collections removed, by kind";
        let count = count.load(Ordering::Relaxed);
        samples.counter("berth_gc_removed_total", help).sample(&[("kind", kind)], count);
    });
    let help = "Bytes of blobs that collections freed";
    samples.counter("berth_gc_freed_bytes_total", help).sample(&[], FREED.load(Ordering::Relaxed));
}

/// The same as containerd 2 has it: how long those took that ended well, and how many there were.
fn tell_collections_as_containerd(samples: &mut Samples) {
    for (outcome, times) in COLLECTIONS.outcomes() {
        let status = match outcome {
            "ok" => "success",
            _ => "fail",
        };
        if status == "success" {
            let help = "How long collections took";
            samples.times("containerd_gc_gc_seconds", help).histogram(&[], times);
        }
        // There is none before the first.
        if !times.is_empty() && outcome != "cancelled" {
            let help = "Collections, by how they ended";
            samples
                .counter("containerd_gc_collections_total", help)
                .sample(&[("status", status)], times.len());
        }
    }
}

fn tell_ingests(content: &crate::content::Content, samples: &mut Samples) {
    let (mut open, mut idle, mut bytes) = (0_u64, 0_u64, 0);
    for ingest in content.0.ingests.list(|_| true) {
        *if ingest.is_open() { &mut open } else { &mut idle } += 1;
        bytes += ingest.status().offset;
    }
    let help = "Blobs that are being written: by a client or transfer now, or left to be resumed";
    let mut ingests = samples.gauge("berth_ingests", help);
    ingests.sample(&[("state", "open")], open);
    ingests.sample(&[("state", "idle")], idle);
    let help = "Bytes of blobs that are being written";
    samples.gauge("berth_ingests_bytes", help).sample(&[], bytes);
}

fn tell_stored(store: &berth_store::Store, samples: &mut Samples) -> Result<(), Error> {
    let mut blobs: Groups<(u64, u64)> = Groups::new(NAMESPACES);
    let mut sizes: HashMap<String, u64> = HashMap::new();
    let mut images: Groups<u64> = Groups::new(NAMESPACES);
    let mut leases: Groups<u64> = Groups::new(NAMESPACES);
    store.read(|txn| {
        for row in txn.range(&HOLDERS, ())? {
            let ((digest, namespace), size) = row?;
            let of = blobs.of(&namespace);
            *of = (of.0 + 1, of.1 + size);
            sizes.insert(digest, size);
        }
        txn.keys(&IMAGES, |(namespace, _)| *images.of(&namespace) += 1)?;
        txn.keys(&LEASES, |(namespace, _)| *leases.of(&namespace) += 1)?;
        Ok::<_, Error>(())
    })?;
    samples.gauge("berth_blobs", "Blobs of the node").sample(&[], sizes.len());
    let help = "Bytes of the blobs of the node";
    samples.gauge("berth_blobs_bytes", help).sample(&[], sizes.values().sum::<u64>());
    for (namespace, (count, bytes)) in blobs.iter() {
        let labels = [("namespace", namespace)];
        let help = "Blobs that a namespace has; several may have the same";
        samples.gauge("berth_namespace_blobs", help).sample(&labels, count);
        let help = "Bytes of the blobs that a namespace has";
        samples.gauge("berth_namespace_blobs_bytes", help).sample(&labels, bytes);
    }
    for (namespace, count) in images.iter() {
        samples.gauge("berth_images", "Images").sample(&[("namespace", namespace)], count);
    }
    for (namespace, count) in leases.iter() {
        samples.gauge("berth_leases", "Leases").sample(&[("namespace", namespace)], count);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use berth_store::{Options, Store, Write};

    use super::*;
    use crate::records::{Descriptor, Image, Lease};

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn image(digest: &str) -> Image {
        let digest = digest.parse().unwrap();
        let annotations = Default::default();
        let target = Descriptor { media_type: "m".into(), digest, size: 1, annotations };
        Image { target, labels: Default::default(), created: NOW, updated: NOW }
    }

    #[tokio::test]
    async fn what_is_of_too_many_namespaces_is_counted_together() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s.redb"), Options::default()).unwrap();
        let put = |txn: &Write| {
            let digest = format!("sha256:{}", "a".repeat(64));
            for number in 0..NAMESPACES + 3 {
                let ns = format!("n{number:03}");
                txn.put(&HOLDERS, &(&*digest, &*ns), &10)?;
                txn.put(&IMAGES, &(&*ns, "i"), &image(&digest))?;
                let lease = Lease { incarnation: 1, created: NOW, labels: Default::default() };
                txn.put(&LEASES, &(&*ns, "l"), &lease)?;
            }
            Ok::<_, Error>(())
        };
        store.commit("test", put).await.unwrap();
        let mut samples = Samples::default();
        tell_stored(&store, &mut samples).unwrap();
        let text = samples.text();
        for (name, other) in [
            ("berth_images", 3),
            ("berth_leases", 3),
            ("berth_namespace_blobs", 3),
            ("berth_namespace_blobs_bytes", 30),
        ] {
            let of = |line: &&str| line.starts_with(&format!("{name}{{"));
            assert_eq!(text.lines().filter(of).count(), NAMESPACES + 1, "{text}");
            let other = format!("\n{name}{{namespace=\"other\"}} {other}\n");
            assert!(text.contains(&other), "{other} is not in {text}");
        }
        // However many have it.
        assert!(text.contains("\nberth_blobs_bytes 10\n"), "{text}");
    }

    #[test]
    fn bytes_of_too_many_registries_are_counted_together() {
        for number in 0..HOSTS + 3 {
            let traffic = REGISTRIES.of(&format!("host-{number}.example"));
            traffic.came(5);
            traffic.went(7);
        }
        let mut samples = Samples::default();
        tell(&mut samples);
        let text = samples.text();
        // Other tests of this program may have asked registries, too.
        for (name, least) in
            [("berth_registry_received_bytes_total", 15), ("berth_registry_sent_bytes_total", 21)]
        {
            let of: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(name)).collect();
            assert_eq!(of.len(), HOSTS + 1, "{text}");
            let other = of.iter().find_map(|line| line.strip_prefix("{host=\"other\"} "));
            let other: u64 = other.unwrap().parse().unwrap();
            assert!(other >= least, "{other}");
        }
    }
}
