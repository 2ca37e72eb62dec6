//! What a process did of late that somebody waited for, and where the time went (`berth trace`).
//!
//! Owns: the latest operations with their stages, bounded in number and size, and how they look on the
//! wire. Must not know: what is done. Always kept, whether spans are exported or not: a stage costs two
//! readings of the clock, two short locks and a few allocations. Nothing survives the process.

mod kept;
mod wire;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

pub use kept::{Operation, Outcome, Part, Stage, told};
pub use wire::answer;

use kept::Kept;

tokio::task_local! {
    static PLACE: Place;
}

/// Where the work of a task belongs.
#[derive(Clone)]
struct Place {
    operation: Arc<Kept>,
    stage: Option<usize>,
}

/// Keeps `work` as an operation of this kind, about what has this name.
///
/// # Errors
/// Those of `work`.
pub fn operation<T, E: Error>(
    kind: &'static str,
    namespace: &str,
    name: &str,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    // Of its own: what is done is large, and would be within each of the futures around it.
    let work = Box::pin(work);
    async move {
        let operation = kept::begin(kind, namespace, name, berth_trace::current());
        let left = kept::Unended(&operation, None);
        let place = Place { operation: Arc::clone(&operation), stage: None };
        let ended = PLACE.scope(place, work).await;
        left.ended(ended.as_ref().err().map(|error| berth_errors::chain(error)));
        ended
    }
}

/// A stage of the operation that the task is at, if it is at one.
#[must_use]
pub fn stage<'a>(name: &'static str, about: &'a str) -> Begin<'a> {
    Begin { name, about, bytes: 0 }
}

/// Whether the task is in a stage of which somebody wants to know more.
#[must_use]
pub fn is_kept() -> bool {
    PLACE.try_with(|place| place.stage.is_some()).unwrap_or(false)
}

/// So much of the time of the stage that the task is in went there.
pub fn part(name: &str, took: Duration) {
    let _ = PLACE.try_with(|place| {
        if let Some(stage) = place.stage {
            place.operation.part(stage, Part { name: name.to_owned(), took });
        }
    });
}

/// A stage that is about to begin.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    name: &'static str,
    about: &'a str,
    bytes: u64,
}

impl Begin<'_> {
    /// It moves so many bytes.
    #[must_use]
    pub fn bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    /// Does the work of the stage.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn of<T, E>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, E>> {
        // As of an operation.
        let work = Box::pin(work);
        async move {
            let Ok(operation) = PLACE.try_with(|place| Arc::clone(&place.operation)) else {
                return work.await;
            };
            let Some(at) = operation.begin(self.name, self.about, self.bytes) else {
                return work.await;
            };
            let left = kept::Unended(&operation, Some(at));
            let place = Place { operation: Arc::clone(&operation), stage: Some(at) };
            let ended = PLACE.scope(place, work).await;
            // What went wrong is told of the whole.
            left.ended(ended.is_err().then(String::new));
            ended
        }
    }
}

#[cfg(test)]
mod tests;
