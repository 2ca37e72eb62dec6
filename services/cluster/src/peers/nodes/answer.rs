//! What a node says of itself, checked as it comes.

use std::time::Duration;

use berth_errors::chain;
use berth_proto::berth::cluster::v1::InspectResponse;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};

use super::Asked;
use crate::Result;
use crate::inspect::{MAX_OBJECTS, Shown};
use crate::keys::Kind;
use crate::peers::shown;

/// The most characters of another node's words that are passed on.
const WORDS: usize = 400;

pub(super) struct Answer {
    messages: Streaming<InspectResponse>,
    asked: Asked,
    until: Instant,
    whole: Duration,
    left: usize,
    begun: bool,
}

impl Answer {
    /// All of it has to come before `until`, which was `whole` after the question.
    pub(super) fn new(
        messages: Streaming<InspectResponse>,
        asked: Asked,
        until: Instant,
        whole: Duration,
    ) -> Self {
        Self { messages, asked, until, whole, left: MAX_OBJECTS, begun: false }
    }

    /// Hands on each piece, as long as somebody takes them and there is time: what nobody reads does not stay.
    pub(super) async fn hand_on(mut self, to: mpsc::Sender<Result<Vec<Shown>>>) {
        while let Some(piece) = self.next().await.transpose() {
            let last = piece.is_err();
            let sent = timeout_at(self.until, to.send(piece)).await;
            if last || !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// The next piece, which is never empty.
    ///
    /// # Errors
    /// [`crate::Error::Peer`] for what no node may say, or not as much of, or not so late.
    async fn next(&mut self) -> Result<Option<Vec<Shown>>> {
        let message = timeout_at(self.until, self.messages.message()).await;
        let late = |_| self.asked.wrong(format!("it has not said all within {:?}", self.whole));
        let message = message.map_err(late)?;
        let Some(message) = message.map_err(|status| self.asked.wrong(said(&status)))? else {
            let whole = self.begun.then_some(None);
            return whole.ok_or_else(|| self.asked.wrong("it has not said anything of itself"));
        };
        let count = message.objects.len();
        if count == 0 {
            return Err(self.asked.wrong("a piece of what it says is empty"));
        }
        let too_many = || self.asked.wrong(format!("it tells of more than {MAX_OBJECTS} objects"));
        self.left = self.left.checked_sub(count).ok_or_else(too_many)?;
        let mut piece = Vec::with_capacity(count);
        for object in message.objects {
            let unreadable = |error: crate::Error| self.asked.wrong(chain(&error));
            let (node, held, object, _) = shown::from_wire(object).map_err(unreadable)?;
            if node != self.asked.node {
                let of = format!("it tells of what node {node} has, which is not its to tell");
                return Err(self.asked.wrong(of));
            }
            let itself = object.kind() == Kind::Nodes;
            if itself == std::mem::replace(&mut self.begun, true) {
                return Err(self.asked.wrong("it has not told of itself first, and once"));
            }
            piece.push((node, held, object));
        }
        Ok(Some(piece))
    }
}

/// What a node answered, or what became of the call: on one line, and not without end.
pub(super) fn said(status: &Status) -> String {
    let mut words = status.message().to_owned();
    if let Some(cause) = std::error::Error::source(status) {
        let cause = chain(cause);
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    let words = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS);
    let words: String = words.collect();
    if words.is_empty() { status.code().to_string() } else { words }
}
