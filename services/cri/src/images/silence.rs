//! When nothing has come of an image for too long, of which part of it, and from whom.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::peers::transfer::Report;

/// So many parts are looked at; images have no more.
const MAX_PARTS: usize = 8192;

/// What does not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// A part of the image, and how much of it there is.
    pub what: String,
    /// The host that was asked for it; none: it is not known.
    pub host: Option<String>,
}

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
        } else if let Some(before) = heard.awaited.get_mut(&report.part)
            && (&before.event, before.done) == (&report.event, report.done)
        {
            // It is where it was, whoever is asked now.
            before.host = report.host;
            return;
        } else if heard.awaited.len() < MAX_PARTS {
            heard.awaited.insert(report.part.clone(), report);
        }
        heard.last = Instant::now();
    }

    /// Waits until nothing was heard for this long while something was to come. Says of what.
    pub async fn broken(&self, longest: Duration) -> Missing {
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
    fn missing(&self) -> Option<Missing> {
        if !self.is_resolved {
            return Some(Missing { what: "its manifest".to_owned(), host: None });
        }
        let downloading = |report: &&Report| report.event == "downloading";
        let all = || self.awaited.values();
        // Others wait for their turn.
        let asked = |report: &&Report| !report.host.is_empty();
        let of = all().find(downloading).or_else(|| all().find(asked));
        let of = of.or_else(|| all().find(|of| is_layer(of))).or(all().next());
        let Report { part, done, total, host, .. } = of?;
        // `layer-sha256:…`, and so with the others.
        let part = part.replacen('-', " ", 1);
        let host = Some(host.clone()).filter(|host| !host.is_empty());
        Some(Missing { what: format!("{part} after {done} of {total} bytes"), host })
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
        asked("", event, part, done)
    }

    fn asked(host: &str, event: &str, part: &str, done: i64) -> Report {
        Report { event: event.into(), part: part.into(), done, total: 100, host: host.into() }
    }

    fn missing(what: &str, host: Option<&str>) -> Missing {
        Missing { what: what.to_owned(), host: host.map(str::to_owned) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_come_is_named() {
        let silence = Silence::begin();
        let begun = Instant::now();
        assert_eq!(silence.broken(LONGEST).await, missing("its manifest", None));
        assert_eq!(begun.elapsed().as_secs(), 10);

        let silence = Silence::begin();
        silence.hear(report("waiting", "config-sha256:c", 0));
        silence.hear(report("waiting", "layer-sha256:a", 0));
        let first = missing("layer sha256:a after 0 of 100 bytes", None);
        assert_eq!(silence.broken(LONGEST).await, first);
        silence.hear(asked("mirror", "waiting", "layer-sha256:z", 0));
        let second = missing("layer sha256:z after 0 of 100 bytes", Some("mirror"));
        assert_eq!(silence.broken(LONGEST).await, second);
        silence.hear(asked("host", "downloading", "layer-sha256:b", 40));
        let third = missing("layer sha256:b after 40 of 100 bytes", Some("host"));
        assert_eq!(silence.broken(LONGEST).await, third);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_break_the_silence_and_words_without_them_do_not() {
        let silence = Silence::begin();
        let begun = Instant::now();
        silence.hear(report("downloading", "layer-sha256:a", 1));
        let talking = async {
            for (done, host) in [(2, "one"), (3, "one"), (3, "one"), (3, "two")] {
                tokio::time::sleep(Duration::from_secs(6)).await;
                silence.hear(asked(host, "downloading", "layer-sha256:a", done));
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = talking => {}
            what = silence.broken(LONGEST) => {
                assert_eq!(what, missing("layer sha256:a after 3 of 100 bytes", Some("one")));
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
