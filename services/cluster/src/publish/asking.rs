//! Asking the truth: one question about each kind at a time, and again later if there was no answer.

use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};

use super::dirty::{Dirty, KINDS, Question, earlier, place};
use crate::backoff::Backoff;
use crate::keys::Kind;
use crate::truth::{Holdings, State, Truth};
use crate::{Error, Result};

/// How long a listing may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the node's state may take.
pub(super) const STATE_PATIENCE: Duration = Duration::from_secs(3);

/// Before a question is put again.
const fn again() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(10))
}

/// Questions under way, and those that have to wait.
pub(super) struct Asking<'t> {
    truth: &'t dyn Truth,
    under_way: FuturesUnordered<BoxFuture<'t, Came>>,
    kinds: [OfKind; KINDS.len()],
    state: bool,
    state_pause: Option<Instant>,
}

struct OfKind {
    question: Option<Question>,
    pause: Option<Instant>,
    backoff: Backoff,
    trouble: Option<String>,
}

/// Something that came, for [`Asking::take`].
pub(super) enum Came {
    Holdings(usize, Result<Holdings>),
    State(Option<State>),
}

/// What the truth said.
pub(super) enum Answer {
    /// To a question.
    Holdings(Question, Holdings),
    /// The node's state.
    State(State),
    /// Nothing yet: what was asked is dirty again.
    None,
}

impl<'t> Asking<'t> {
    pub(super) fn new(truth: &'t dyn Truth) -> Self {
        let kinds = std::array::from_fn(|_| OfKind {
            question: None,
            pause: None,
            backoff: again(),
            trouble: None,
        });
        let under_way = FuturesUnordered::new();
        Self { truth, under_way, kinds, state: false, state_pause: None }
    }

    /// Answers are waited for.
    pub(super) fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// When there is something that can be asked.
    pub(super) fn due(&self, dirty: &Dirty, now: Instant) -> Option<Instant> {
        let free = |kind: &Kind| place(*kind).filter(|place| self.kinds[*place].question.is_none());
        let kinds = KINDS.into_iter().filter(|kind| dirty.has(*kind));
        let kinds = kinds.filter_map(|kind| free(&kind));
        let kinds = kinds.map(|place| self.kinds[place].pause.unwrap_or(now)).min();
        let state = (dirty.state && !self.state).then(|| self.state_pause.unwrap_or(now));
        earlier(kinds, state)
    }

    /// Asks what can be asked.
    pub(super) fn ask(&mut self, dirty: &mut Dirty, now: Instant) {
        if dirty.state && !self.state && self.state_pause.is_none_or(|pause| pause <= now) {
            (dirty.state, self.state, self.state_pause) = (false, true, None);
            // A service may be there again.
            self.kinds.iter_mut().for_each(|of| of.pause = None);
            let state = timeout(STATE_PATIENCE, self.truth.state());
            self.under_way.push(Box::pin(async move { Came::State(state.await.ok()) }));
        }
        for (place, kind) in KINDS.into_iter().enumerate() {
            let of = &mut self.kinds[place];
            if of.question.is_some() || of.pause.is_some_and(|pause| pause > now) {
                continue;
            }
            let Some(question) = dirty.take(kind) else { continue };
            let answer = timeout(PATIENCE, self.truth.ask(question.asked()));
            of.question = Some(question);
            self.under_way.push(Box::pin(async move {
                let answer = answer.await.unwrap_or_else(|_| Err(late(kind)));
                Came::Holdings(place, answer)
            }));
        }
    }

    /// The next answer. It is not lost when this is dropped.
    pub(super) async fn next(&mut self) -> Came {
        match self.under_way.next().await {
            Some(came) => came,
            None => std::future::pending().await,
        }
    }

    /// What came, as an answer.
    pub(super) fn take(&mut self, came: Came, dirty: &mut Dirty, now: Instant) -> Answer {
        match came {
            Came::State(state) => {
                self.state = false;
                if state.is_none() {
                    dirty.state = true;
                    self.state_pause = Some(now + STATE_PATIENCE);
                }
                state.map_or(Answer::None, Answer::State)
            }
            Came::Holdings(place, answer) => {
                let of = &mut self.kinds[place];
                let Some(question) = of.question.take() else { return Answer::None };
                match answer {
                    Ok(holdings) => {
                        of.backoff.reset();
                        (of.pause, of.trouble) = (None, None);
                        Answer::Holdings(question, holdings)
                    }
                    Err(error) => {
                        of.pause = Some(now + of.backoff.wait());
                        of.trouble = Some(error.to_string());
                        dirty.put_back(question);
                        Answer::None
                    }
                }
            }
        }
    }

    /// Gives up: all that was asked is dirty again.
    pub(super) fn leave(&mut self, dirty: &mut Dirty) {
        self.under_way.clear();
        dirty.state |= std::mem::take(&mut self.state);
        self.kinds.iter_mut().filter_map(|of| of.question.take()).for_each(|it| dirty.put_back(it));
    }

    /// For how many things answers are waited for.
    pub(super) fn waiting(&self) -> usize {
        self.kinds.iter().filter_map(|of| of.question.as_ref()).map(Question::len).sum()
    }

    /// What the truth could not say of late.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.kinds.iter().find_map(|of| of.trouble.as_deref())
    }
}

fn late(kind: Kind) -> Error {
    let service = if kind == Kind::Images { "distribution" } else { "runtime" };
    Error::Service { service, step: "list", reason: format!("no answer within {PATIENCE:?}") }
}
