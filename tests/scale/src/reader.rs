//! A node that reads: the real views, over a connection of their own, each with one watcher.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_cluster::keys::{Kind, Layout};
use berth_cluster::objects::Object;
use berth_cluster::peers::etcd;
use berth_cluster::view::{Item, Settings, Told, Views, Watching};
use berth_filters::Filter;
use berth_lifecycle::Tasks;
use tokio::time::Instant;

use crate::{running, wait};

/// How long all may take to be read for the first time.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// The most samples of one reader.
const SAMPLES: usize = 4 << 20;

/// A reader of everything.
pub struct Reader {
    views: Views,
    tallies: Vec<Arc<Tally>>,
    tasks: Tasks,
    started: Instant,
}

/// What came to one watcher.
#[derive(Debug, Default)]
struct Tally {
    caught_up: AtomicBool,
    changes: AtomicU64,
    /// From the change on its node until it was told here, in microseconds.
    late: Mutex<Vec<u32>>,
    broken: Mutex<Option<String>>,
}

impl Reader {
    /// Begins to read.
    #[must_use]
    pub fn start(layout: &Layout, etcd: &etcd::Settings) -> Self {
        let tasks = Tasks::new();
        let mut settings = Settings::new(etcd.clone(), layout.clone());
        settings.wait = PATIENCE;
        let views = Views::new(settings, tasks.clone());
        let tallies = Kind::ALL.map(|kind| {
            let (tally, views) = (Arc::new(Tally::default()), views.clone());
            let told = tally.clone();
            tasks.spawn_endless("watch", async move {
                let ended = watch(&views, kind, &told).await;
                *told.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
            });
            tally
        });
        Self { views, tallies: tallies.into(), tasks, started: Instant::now() }
    }

    /// Waits until all that there was has been told; answers how long that took from the start.
    ///
    /// # Errors
    /// When it takes too long, or a watch has broken.
    pub async fn ready(&self) -> Result<Duration> {
        let ready = |tally: &Arc<Tally>| tally.caught_up.load(Ordering::Relaxed);
        let all = || self.tallies.iter().all(ready);
        let waited = wait::until(PATIENCE, || all() || self.broken().is_some()).await;
        waited.with_context(|| format!("a first list: {:?}", self.views.kept()))?;
        match self.broken() {
            Some(why) => bail!("a watch has broken: {why}"),
            None => Ok(self.started.elapsed()),
        }
    }

    /// The views.
    #[must_use]
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// Objects in all its views.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.views.kept().iter().map(|kept| kept.objects).sum()
    }

    /// Changes that were told so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.changes.load(Ordering::Relaxed)).sum()
    }

    /// How often a view was listed again.
    #[must_use]
    pub fn relists(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.views.relists(kind)).sum()
    }

    /// Why a watch has ended, if one has.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        let why = |tally: &Arc<Tally>| {
            tally.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        self.tallies.iter().find_map(why)
    }

    /// How late changes of containers were, in microseconds, since this was last asked.
    #[must_use]
    pub fn late(&self) -> Vec<u32> {
        let take = |tally: &Arc<Tally>| {
            std::mem::take(&mut *tally.late.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.tallies.iter().flat_map(take).collect()
    }

    /// Stops to read.
    pub async fn stop(self) {
        self.tasks.drain(Duration::from_secs(10)).await;
    }
}

/// Watches a kind; answers why that ended.
async fn watch(views: &Views, kind: Kind, tally: &Tally) -> String {
    let mut watching = match views.watch(kind, Filter::default(), 0).await {
        Ok(watching) => watching,
        Err(error) => return error.to_string(),
    };
    loop {
        if let Err(why) = tell(&mut watching, kind, tally).await {
            return format!("{}: {why}", kind.name());
        }
    }
}

async fn tell(watching: &mut Watching, kind: Kind, tally: &Tally) -> Result<(), String> {
    let piece = watching.next().await.ok_or("it has ended")?.map_err(|error| error.to_string())?;
    if !tally.caught_up.load(Ordering::Relaxed) {
        if piece.caught_up {
            tally.caught_up.store(true, Ordering::Relaxed);
        }
        return Ok(());
    }
    tally.changes.fetch_add(piece.changes.len() as u64, Ordering::Relaxed);
    if kind == Kind::Containers {
        let told = piece.changes.iter().filter(|told| !told.deleted);
        let ages = told.filter_map(|Told { item, .. }| age(item));
        let mut late = tally.late.lock().unwrap_or_else(PoisonError::into_inner);
        let room = SAMPLES.saturating_sub(late.len());
        late.extend(ages.take(room));
    }
    Ok(())
}

fn age(item: &Item) -> Option<u32> {
    match item.object(Kind::Containers)? {
        Object::Container(container) => {
            let micros = running::age(&container)?.as_micros();
            Some(u32::try_from(micros).unwrap_or(u32::MAX))
        }
        _ => None,
    }
}
