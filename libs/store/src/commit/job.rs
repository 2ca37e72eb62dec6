//! A commit that waits for its turn: a closure, its latest result, and who wants to know.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::counts::{FAILED, KEPT, REFUSED, Waiting};
use crate::Error;
use crate::txn::Write;

/// How one run of a closure ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// It answered `Ok`: its writes are to be kept.
    Kept,
    /// It answered an error.
    Refused,
    /// It panicked.
    Panicked,
}

/// A [`Typed`] without its types.
pub(super) trait Job: Send {
    /// The commit's name.
    fn name(&self) -> &'static str;
    /// Nobody waits for the answer any more.
    fn abandoned(&self) -> bool;
    /// Runs the closure and keeps its result for [`Job::settle`].
    fn run(&mut self, txn: &Write) -> Ran;
    /// Answers the caller: the latest result, or why the group was not kept.
    fn settle(self: Box<Self>, group: Result<(), Arc<redb::Error>>);
}

pub(super) struct Typed<T, E, F> {
    name: &'static str,
    work: F,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
    _waiting: Waiting,
}

impl<T, E, F> Typed<T, E, F> {
    pub(super) fn new(name: &'static str, work: F, answer: oneshot::Sender<Result<T, E>>) -> Self {
        Self { name, work, result: None, answer, _waiting: Waiting::begin() }
    }
}

impl<T, E, F> Job for Typed<T, E, F>
where
    T: Send,
    E: From<Error> + Send,
    F: Fn(&Write) -> Result<T, E> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(&mut self, txn: &Write) -> Ran {
        match catch_unwind(AssertUnwindSafe(|| (self.work)(txn))) {
            Ok(result) => {
                let ran = if result.is_ok() { Ran::Kept } else { Ran::Refused };
                self.result = Some(result);
                ran
            }
            Err(_) => {
                self.result = Some(Err(Error::Panicked { name: self.name }.into()));
                Ran::Panicked
            }
        }
    }

    fn settle(self: Box<Self>, group: Result<(), Arc<redb::Error>>) {
        let failed = group.is_err();
        let answer = match (group, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::Closed.into()),
            (Err(source), _) => Err(Error::Commit { name: self.name, source }.into()),
        };
        let count = match &answer {
            Ok(_) => &KEPT,
            Err(_) if failed => &FAILED,
            Err(_) => &REFUSED,
        };
        count.fetch_add(1, Ordering::Relaxed);
        // A caller that stopped waiting does not want to know.
        let _ = self.answer.send(answer);
    }
}
