//! The operations that are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use berth_trace::Context;

/// The most operations.
const OPERATIONS: usize = 256;
/// The most stages of one, and of all that have ended.
const STAGES: usize = 512;
const STAGES_OF_ALL: usize = 4096;
/// The most parts of a stage.
const PARTS: usize = 16;
/// The most bytes of a name, and of an error.
const NAME: usize = 512;
const ERROR: usize = 2048;

static LATEST: Mutex<Latest> = Mutex::new(Latest { number: 0, kept: VecDeque::new() });

struct Latest {
    number: u64,
    /// The latest last.
    kept: VecDeque<Arc<Kept>>,
}

/// What became of something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    #[default]
    UnderWay,
    /// It is done.
    Done,
    /// It failed; empty for a stage.
    Failed(String),
    /// Nobody waited for it any more.
    Left,
}

/// One operation, as it is when it is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Higher for what began later.
    pub number: u64,
    /// What is done.
    pub kind: &'static str,
    /// Whose.
    pub namespace: String,
    /// To what.
    pub name: String,
    /// When it began.
    pub began: SystemTime,
    /// How long it took, or takes until now.
    pub took: Duration,
    /// What became of it.
    pub outcome: Outcome,
    /// The trace that it is part of, if that is kept.
    pub trace: Option<u128>,
    /// In the order in which they began.
    pub stages: Vec<Stage>,
    /// Stages for which there was no room.
    pub left_out: u64,
}

/// A part of an operation that is told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// What is done.
    pub name: &'static str,
    /// What with; may be empty.
    pub about: String,
    /// How much that is, if it is known.
    pub bytes: u64,
    /// After the operation's begin.
    pub from: Duration,
    /// How long it took, or takes until now.
    pub took: Duration,
    /// What became of it.
    pub outcome: Outcome,
    /// What of the time is known more closely.
    pub parts: Vec<Part>,
}

/// So much of a stage's time went there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it went to.
    pub name: String,
    /// How long.
    pub took: Duration,
}

/// One that is kept. Whoever does it has it, too.
pub(crate) struct Kept {
    clock: Instant,
    now: Mutex<Operation>,
}

/// Keeps an operation that begins now; the oldest that has ended goes, if there are too many.
pub(crate) fn begin(
    kind: &'static str,
    namespace: &str,
    name: &str,
    context: Option<Context>,
) -> Arc<Kept> {
    let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
    latest.number += 1;
    let operation = Operation {
        number: latest.number,
        kind,
        namespace: namespace.to_owned(),
        name: cut(name, NAME),
        began: SystemTime::now(),
        took: Duration::ZERO,
        outcome: Outcome::UnderWay,
        trace: context.filter(|context| context.sampled).map(|context| context.trace),
        stages: Vec::new(),
        left_out: 0,
    };
    let kept = Arc::new(Kept { clock: Instant::now(), now: Mutex::new(operation) });
    latest.kept.push_back(Arc::clone(&kept));
    latest.make_room();
    kept
}

/// What is kept, the latest first.
#[must_use]
pub fn told() -> Vec<Operation> {
    let latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
    let kept: Vec<_> = latest.kept.iter().rev().cloned().collect();
    drop(latest);
    kept.iter().map(|kept| kept.told()).collect()
}

impl Latest {
    /// Operations that are under way are as many as clients may call at once, and stay.
    fn make_room(&mut self) {
        let size = |kept: &Arc<Kept>| {
            let now = kept.lock();
            if now.outcome == Outcome::UnderWay { 0 } else { now.stages.len() }
        };
        let sizes: Vec<_> = self.kept.iter().map(size).collect();
        let (mut operations, mut stages) = (sizes.len(), sizes.iter().sum::<usize>());
        let mut sizes = sizes.into_iter();
        self.kept.retain(|kept| {
            let size = sizes.next().unwrap_or_default();
            let fits = operations <= OPERATIONS && stages <= STAGES_OF_ALL;
            if fits || kept.lock().outcome == Outcome::UnderWay {
                return true;
            }
            (operations, stages) = (operations - 1, stages - size);
            false
        });
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Operation> {
        // Whole after every statement.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stage begins; none when there is no room.
    pub(crate) fn begin(&self, name: &'static str, about: &str, bytes: u64) -> Option<usize> {
        let mut now = self.lock();
        if now.stages.len() == STAGES {
            now.left_out += 1;
            return None;
        }
        let about = cut(about, NAME);
        let from = self.clock.elapsed();
        let (took, outcome, parts) = (Duration::ZERO, Outcome::UnderWay, Vec::new());
        now.stages.push(Stage { name, about, bytes, from, took, outcome, parts });
        Some(now.stages.len() - 1)
    }

    pub(crate) fn part(&self, stage: usize, part: Part) {
        let mut now = self.lock();
        if let Some(stage) = now.stages.get_mut(stage).filter(|stage| stage.parts.len() < PARTS) {
            stage.parts.push(part);
        }
    }

    /// The stage has ended, or the whole.
    fn end(&self, stage: Option<usize>, outcome: Outcome) {
        let mut now = self.lock();
        let at = self.clock.elapsed();
        let Some(stage) = stage else {
            (now.took, now.outcome) = (at, outcome);
            return;
        };
        if let Some(stage) = now.stages.get_mut(stage) {
            (stage.took, stage.outcome) = (at.saturating_sub(stage.from), outcome);
        }
    }

    fn told(&self) -> Operation {
        let mut operation = self.lock().clone();
        let now = self.clock.elapsed();
        if operation.outcome == Outcome::UnderWay {
            operation.took = now;
        }
        for stage in &mut operation.stages {
            if stage.outcome == Outcome::UnderWay {
                stage.took = now.saturating_sub(stage.from);
            }
        }
        operation
    }
}

/// An operation, or a stage of it, that is left if it is dropped before its end.
pub(crate) struct Unended<'a>(pub(crate) &'a Arc<Kept>, pub(crate) Option<usize>);

impl Unended<'_> {
    /// It has ended, well or for this reason.
    pub(crate) fn ended(self, error: Option<String>) {
        let outcome = error.map_or(Outcome::Done, |error| Outcome::Failed(cut(&error, ERROR)));
        self.0.end(self.1, outcome);
        std::mem::forget(self);
    }
}

impl Drop for Unended<'_> {
    fn drop(&mut self) {
        self.0.end(self.1, Outcome::Left);
    }
}

/// The first bytes of a text, in whole characters.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}
