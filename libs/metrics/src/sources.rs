//! Who tells what, and asking them all: no question is longer than [`PATIENCE`].
//!
//! Three kinds of sources. What is counted is told at once. What is looked up in files or a store is
//! read on a thread for that, once at a time. What others have to be asked for is waited for. The
//! latter two tell by `berth_scrape_up` whether they are in what was told.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::Mutex as AsyncMutex;

use crate::Samples;

/// How long a source may take. Less than whoever asks a service waits.
pub const PATIENCE: Duration = Duration::from_millis(1500);

/// By whose names things are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Names {
    /// Ours, `berth_…`.
    Ours,
    /// containerd's, for those who read what containerd tells.
    Containerds,
}

type Asked = Pin<Box<dyn Future<Output = Result<Samples, String>> + Send>>;
type Walk = dyn Fn(&mut Samples) -> Result<(), String> + Send + Sync;

#[derive(Clone)]
enum Source {
    Counted(Arc<dyn Fn(&mut Samples) + Send + Sync>),
    Walked(Arc<Walk>, Arc<AsyncMutex<()>>),
    Asked(Arc<dyn Fn() -> Asked + Send + Sync>),
}

/// The sources of a process.
#[derive(Default)]
struct Sources(Mutex<BTreeMap<(Names, &'static str), Source>>);

static SOURCES: Sources = Sources(Mutex::new(BTreeMap::new()));

/// Registers what is counted: reading it takes no time. Of a name the last source stands: a process has
/// one of each.
pub fn counted(
    names: Names,
    name: &'static str,
    tell: impl Fn(&mut Samples) + Send + Sync + 'static,
) {
    SOURCES.put(names, name, Source::Counted(Arc::new(tell)));
}

/// Registers what is read from files or a store when somebody asks.
pub fn walked<E: Display>(
    name: &'static str,
    walk: impl Fn(&mut Samples) -> Result<(), E> + Send + Sync + 'static,
) {
    SOURCES.put(Names::Ours, name, Source::walk(walk));
}

/// Registers what others are asked for when somebody asks. What takes longer than [`PATIENCE`] is left
/// out whole: whoever asks many keeps time itself and tells what it got.
pub fn asked<F>(names: Names, name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static)
where
    F: Future<Output = Samples> + Send + 'static,
{
    SOURCES.put(names, name, Source::ask(ask));
}

/// What all sources of these names tell.
pub(crate) async fn gather(names: Names) -> Samples {
    SOURCES.gather(names).await
}

impl Source {
    fn walk<E: Display>(
        walk: impl Fn(&mut Samples) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        let walk = move |samples: &mut Samples| walk(samples).map_err(|error| error.to_string());
        Self::Walked(Arc::new(walk), Arc::default())
    }

    fn ask<F>(ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Samples> + Send + 'static,
    {
        Self::Asked(Arc::new(move || -> Asked {
            let samples = ask();
            Box::pin(async move { Ok(samples.await) })
        }))
    }
}

impl Sources {
    fn put(&self, names: Names, name: &'static str, source: Source) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((names, name), source);
    }

    async fn gather(&self, names: Names) -> Samples {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let wanted = sources.into_iter().filter(|((of, _), _)| *of == names);
        let told = join_all(wanted.map(|((_, name), source)| tell(name, source))).await;
        let mut all = Samples::default();
        for (name, told) in told {
            match told {
                Ok((samples, None)) => all.append(samples),
                Ok((samples, Some(took))) => {
                    all.append(samples);
                    scraped(&mut all, name, Some(took));
                }
                Err(_) => scraped(&mut all, name, None),
            }
        }
        all.tell_left_out();
        all
    }
}

/// Whether a source told something, and if so, how long that took.
fn scraped(all: &mut Samples, source: &str, took: Option<Duration>) {
    let labels = [("source", source)];
    let help = "Whether what this source looks up is among what was told";
    all.gauge("berth_scrape_up", help).sample(&labels, u8::from(took.is_some()));
    if let Some(took) = took {
        let help = "How long this source took to look up what it tells";
        all.gauge("berth_scrape_seconds", help).sample(&labels, took.as_secs_f64());
    }
}

type Answer = Result<(Samples, Option<Duration>), String>;

async fn tell(name: &'static str, source: Source) -> (&'static str, Answer) {
    let began = Instant::now();
    let told = async {
        match source {
            Source::Counted(tell) => {
                let mut samples = Samples::default();
                tell(&mut samples);
                return Ok((samples, None));
            }
            Source::Walked(walk, turn) => walked_once(walk, turn).await,
            Source::Asked(ask) => ask().await,
        }
        .map(|samples| (samples, Some(began.elapsed())))
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    (name, told.unwrap_or_else(|_| Err("too late".to_owned())))
}

/// The walk has its turn until its end, also when nobody waits for it any more: one that is slow is not
/// run many times at once.
async fn walked_once(walk: Arc<Walk>, turn: Arc<AsyncMutex<()>>) -> Result<Samples, String> {
    let turn = turn.lock_owned().await;
    let work = move || {
        let _turn = turn;
        let mut samples = Samples::default();
        walk(&mut samples).map(|()| samples)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_answer_is_named_and_holds_up_nobody() {
        let sources = Sources::default();
        let told = |name: &'static str| {
            let mut samples = Samples::default();
            samples.gauge(name, "G").sample(&[], 1);
            samples
        };
        let counted = Source::Counted(Arc::new(move |samples| samples.append(told("counted"))));
        sources.put(Names::Ours, "counted", counted);
        let never = || std::future::pending::<Samples>();
        sources.put(Names::Ours, "slow", Source::ask(never));
        let quick = Source::ask(move || std::future::ready(told("quick")));
        sources.put(Names::Ours, "quick", quick);
        let theirs = Source::ask(move || std::future::ready(told("theirs")));
        sources.put(Names::Containerds, "theirs", theirs);
        let began = tokio::time::Instant::now();
        let text = sources.gather(Names::Ours).await.text();
        assert_eq!(began.elapsed(), PATIENCE);
        for line in [
            "berth_scrape_up{source=\"slow\"} 0",
            "berth_scrape_up{source=\"quick\"} 1",
            "quick 1",
            "counted 1",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is not in {text}");
        }
        assert!(!text.contains("theirs"), "{text}");
        let theirs = sources.gather(Names::Containerds).await.text();
        let own = ["theirs 1\n", "berth_scrape_up{source=\"theirs\"} 1\n"];
        assert!(own.iter().all(|line| theirs.contains(line)), "{theirs}");
        assert!(!theirs.contains("quick") && !theirs.contains("slow"), "{theirs}");
    }

    #[tokio::test]
    async fn a_walk_that_hangs_is_not_begun_again_and_one_that_fails_tells_nothing() {
        let sources = Sources::default();
        let begun = Arc::new(AtomicU64::new(0));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (count, held) = (begun.clone(), Mutex::new(held));
        let hangs = move |_: &mut Samples| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = held.lock().unwrap_or_else(PoisonError::into_inner).recv();
            Ok::<_, String>(())
        };
        sources.put(Names::Ours, "hangs", Source::walk(hangs));
        let fails = |samples: &mut Samples| {
            samples.gauge("half", "H").sample(&[], 1);
            Err("no".to_owned())
        };
        sources.put(Names::Ours, "fails", Source::walk(fails));
        let (one, other) = tokio::join!(sources.gather(Names::Ours), sources.gather(Names::Ours));
        for text in [one.text(), other.text()] {
            assert!(text.contains("berth_scrape_up{source=\"hangs\"} 0"), "{text}");
            assert!(text.contains("berth_scrape_up{source=\"fails\"} 0"), "{text}");
            assert!(!text.contains("half"), "{text}");
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        drop(release);
    }
}
