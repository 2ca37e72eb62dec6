//! When nothing has come of an image for too long, and of which part of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::peers::transfer::Report;

/// So many parts are looked at; images have no more.
const MAX_PARTS: usize = 8192;

/// What is heard of a pull.
#[derive(Debug)]
pub struct Silence {
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    last: Instant,
    /// How far each part is, of those that are on their way.
    awaited: BTreeMap<String, Report>,
    /// Some part was told of: the registry has said what the image is made of.
    is_resolved: bool,
}

impl Silence {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        let (last, awaited) = (Instant::now(), BTreeMap::new());
        Self { heard: Mutex::new(Heard { last, awaited, is_resolved: false }) }
    }

    /// Takes in how far it is.
    pub fn hear(&self, report: Report) {
        let mut heard = self.lock();
        if report.part.is_empty() {
            heard.last = Instant::now();
            return;
        }
        heard.is_resolved = true;
        if !matches!(report.event.as_str(), "waiting" | "downloading") {
            heard.awaited.remove(&report.part);
        } else if heard.awaited.get(&report.part) == Some(&report) {
            // It is where it was.
            return;
        } else if heard.awaited.len() < MAX_PARTS {
            heard.awaited.insert(report.part.clone(), report);
        }
        heard.last = Instant::now();
    }

    /// Waits until nothing was heard for this long while something was to come. Says of what.
    pub async fn broken(&self, longest: Duration) -> String {
        loop {
            let until = self.lock().last + longest;
            tokio::time::sleep_until(until).await;
            let mut heard = self.lock();
            if heard.last + longest > Instant::now() {
                continue;
            }
            if let Some(what) = heard.missing() {
                return what;
            }
            // All has come and is being unpacked, which takes the time it takes.
            heard.last = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn missing(&self) -> Option<String> {
        if !self.is_resolved {
            return Some("its manifest".to_owned());
        }
        let downloading = |report: &&Report| report.event == "downloading";
        let all = || self.awaited.values();
        let of = all().find(downloading).or_else(|| all().find(|of| is_layer(of))).or(all().next());
        let Report { part, done, total, .. } = of?;
        // `layer-sha256:…`, and so with the others.
        let part = part.replacen('-', " ", 1);
        Some(format!("{part} after {done} of {total} bytes"))
    }
}

fn is_layer(of: &Report) -> bool {
    of.part.starts_with("layer-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    fn report(event: &str, part: &str, done: i64) -> Report {
        Report { event: event.into(), part: part.into(), done, total: 100 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_come_is_named() {
        let silence = Silence::begin();
        let begun = Instant::now();
        assert_eq!(silence.broken(LONGEST).await, "its manifest");
        assert_eq!(begun.elapsed().as_secs(), 10);

        let silence = Silence::begin();
        silence.hear(report("waiting", "config-sha256:c", 0));
        silence.hear(report("waiting", "layer-sha256:a", 0));
        assert_eq!(silence.broken(LONGEST).await, "layer sha256:a after 0 of 100 bytes");
        silence.hear(report("downloading", "layer-sha256:b", 40));
        assert_eq!(silence.broken(LONGEST).await, "layer sha256:b after 40 of 100 bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_break_the_silence_and_words_without_them_do_not() {
        let silence = Silence::begin();
        let begun = Instant::now();
        silence.hear(report("downloading", "layer-sha256:a", 1));
        let talking = async {
            for done in [2, 3, 3, 3] {
                tokio::time::sleep(Duration::from_secs(6)).await;
                silence.hear(report("downloading", "layer-sha256:a", done));
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = talking => {}
            what = silence.broken(LONGEST) => {
                assert_eq!(what, "layer sha256:a after 3 of 100 bytes");
            }
        }
        assert_eq!(begun.elapsed().as_secs(), 22);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_unpacked_is_left_in_peace() {
        let silence = Silence::begin();
        silence.hear(report("waiting", "layer-sha256:a", 0));
        silence.hear(report("complete", "layer-sha256:a", 100));
        let waited = tokio::time::timeout(10 * LONGEST, silence.broken(LONGEST)).await;
        assert!(waited.is_err());
    }
}
