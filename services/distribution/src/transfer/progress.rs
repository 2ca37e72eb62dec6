//! What a transfer tells its caller while it goes on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::annotations::REF_NAME;
use crate::registry::Descriptor;

/// How many events may wait for a slow caller.
const QUEUE: usize = 4096;
/// Byte counts are left out when fewer places than this are free: state changes matter more.
const RESERVED: usize = 2048;
/// The longest name from an annotation that an ingest is called by.
const MAX_NAME: usize = 256;
/// How often a blob's byte count is told.
const TICK: Duration = Duration::from_millis(100);
/// The annotation that a blob's descriptor is told with while it is on its way: the host that was asked for it last,
/// which may be a mirror.
const HOST: &str = "io.berth.host";

/// One event. The words are containerd's; its clients draw their bars by them.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// `downloading`, `complete`, `saved`, …
    pub event: String,
    /// The object: an ingest's reference, or an image's name.
    pub name: String,
    /// The objects that led to it.
    pub parents: Vec<String>,
    /// Bytes so far.
    pub progress: u64,
    /// Bytes in all.
    pub total: u64,
    /// The object's descriptor.
    pub descriptor: Option<Descriptor>,
}

/// Where events go. Telling never waits: a transfer does not depend on who watches it.
#[derive(Clone, Default)]
pub struct Reporter {
    to: Option<mpsc::Sender<Progress>>,
}

impl Reporter {
    /// A reporter and the events it will tell.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Progress>) {
        let (to, from) = mpsc::channel(QUEUE);
        (Self { to: Some(to) }, from)
    }

    /// Tells of a step of the transfer as a whole.
    pub fn step(&self, event: impl Into<String>) {
        self.tell(event.into(), String::new(), None);
    }

    /// Tells of an image.
    pub fn image(&self, event: &str, name: &str, target: &Descriptor) {
        self.tell(event.to_owned(), name.to_owned(), Some(target.clone()));
    }

    fn tell(&self, event: String, name: String, descriptor: Option<Descriptor>) {
        self.send(Progress { event, name, parents: Vec::new(), progress: 0, total: 0, descriptor });
    }

    fn send(&self, progress: Progress) {
        // A caller that is gone or hopelessly behind misses events; the transfer goes on.
        if let Some(to) = &self.to {
            let _ = to.try_send(progress);
        }
    }

    fn has_room(&self) -> bool {
        self.to.as_ref().is_some_and(|to| to.capacity() > RESERVED)
    }

    /// Begins to tell of a blob, as `waiting`.
    #[must_use]
    pub fn blob(&self, descriptor: &Descriptor, parents: &[String]) -> BlobProgress {
        let mut told = descriptor.clone();
        // Who wrote the manifest has no word in who is asked.
        told.annotations.remove(HOST);
        let blob = BlobProgress {
            reporter: self.clone(),
            name: ingest_key(descriptor),
            parents: parents.to_vec(),
            descriptor: told,
            host: Mutex::default(),
            told: Mutex::new(Instant::now()),
        };
        blob.tell("waiting", 0);
        blob
    }
}

/// Tells of one blob.
pub struct BlobProgress {
    reporter: Reporter,
    name: String,
    parents: Vec<String>,
    descriptor: Descriptor,
    /// Who was asked for it last; empty: nobody.
    host: Mutex<String>,
    told: Mutex<Instant>,
}

impl BlobProgress {
    /// Tells of a change of state: at `progress` of the blob's bytes.
    pub fn tell(&self, event: &str, progress: u64) {
        self.tell_of(self.descriptor.clone(), event, progress);
    }

    fn tell_of(&self, descriptor: Descriptor, event: &str, progress: u64) {
        self.reporter.send(Progress {
            event: event.to_owned(),
            name: self.name.clone(),
            parents: self.parents.clone(),
            progress,
            total: descriptor.size,
            descriptor: Some(descriptor),
        });
    }

    /// Tells that a host is asked for what is missing, from `progress` on: it may be silent from here on.
    pub fn asks(&self, host: &str, progress: u64) {
        host.clone_into(&mut self.host());
        let event = if progress == 0 { "waiting" } else { "downloading" };
        self.tell_of(self.on_its_way(), event, progress);
    }

    /// The blob's descriptor, with who was asked for it.
    fn on_its_way(&self) -> Descriptor {
        let mut descriptor = self.descriptor.clone();
        let host = self.host().clone();
        if !host.is_empty() {
            descriptor.annotations.insert(HOST.to_owned(), host);
        }
        descriptor
    }

    fn host(&self) -> MutexGuard<'_, String> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a state in which the blob is complete.
    pub fn done(&self, event: &str) {
        self.tell(event, self.descriptor.size);
    }

    /// Tells how far it is, if that was not told just now.
    pub fn tick(&self, event: &str, progress: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= TICK && self.reporter.has_room() {
            *told = Instant::now();
            self.tell_of(self.on_its_way(), event, progress);
        }
    }
}

/// The name of a blob's ingest, by which concurrent transfers of it find each other: containerd's.
#[must_use]
pub fn ingest_key(descriptor: &Descriptor) -> String {
    use crate::registry::media;
    let kind = match descriptor.media_type.as_str() {
        media_type if media::is_manifest(media_type) => "manifest",
        media_type if media::is_index(media_type) => "index",
        media_type if media::is_layer(media_type) => "layer",
        media_type if media::is_known_config(media_type) => "config",
        media_type if media::is_attestation(media_type) => "attestation",
        _ => "unknown",
    };
    match descriptor.annotations.get(REF_NAME).filter(|name| name.len() <= MAX_NAME) {
        Some(name) => format!("{kind}-{name}@{}", descriptor.digest),
        None => format!("{kind}-{}", descriptor.digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingests_have_containerds_names() {
        let mut descriptor =
            Descriptor::new("application/vnd.in-toto+json", crate::content::hash::sha256(b"x"), 1);
        let digest = descriptor.digest.to_string();
        assert_eq!(ingest_key(&descriptor), format!("attestation-{digest}"));
        descriptor.media_type = crate::registry::media::OCI_MANIFEST.to_owned();
        descriptor.annotations.insert(REF_NAME.to_owned(), "v1".to_owned());
        assert_eq!(ingest_key(&descriptor), format!("manifest-v1@{digest}"));
        descriptor.annotations.insert(REF_NAME.to_owned(), "v".repeat(300));
        assert_eq!(ingest_key(&descriptor), format!("manifest-{digest}"));
    }

    #[test]
    fn who_is_asked_is_told_and_a_manifest_cannot_say_it() {
        let mut descriptor = Descriptor::new("x/y", crate::content::hash::sha256(b"x"), 9);
        descriptor.annotations.insert(HOST.to_owned(), "made-up".to_owned());
        let (reporter, mut events) = Reporter::channel();
        let blob = reporter.blob(&descriptor, &[]);
        blob.asks("mirror:1", 0);
        blob.asks("registry:2", 4);
        blob.done("complete");
        let mut next = || {
            let event = events.try_recv().unwrap();
            let host = event.descriptor.unwrap().annotations.remove(HOST);
            (event.event, event.progress, host.unwrap_or_default())
        };
        assert_eq!(next(), ("waiting".to_owned(), 0, String::new()));
        assert_eq!(next(), ("waiting".to_owned(), 0, "mirror:1".to_owned()));
        assert_eq!(next(), ("downloading".to_owned(), 4, "registry:2".to_owned()));
        assert_eq!(next(), ("complete".to_owned(), 9, String::new()));
    }

    #[test]
    fn a_full_queue_stops_nobody() {
        let (reporter, mut events) = Reporter::channel();
        for number in 0..QUEUE + 10 {
            reporter.step(number.to_string());
        }
        assert!(!reporter.has_room());
        assert_eq!(events.try_recv().unwrap().event, "0");
        Reporter::default().step("nobody hears");
    }
}
