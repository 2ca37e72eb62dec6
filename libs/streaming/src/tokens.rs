//! Tokens: each stands for one request, once, for a while. Must not know: what is asked for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use crate::{Kind, Limits, Request};

/// As many tokens are outstanding as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("maximum number of in-flight requests exceeded")]
pub struct Full;

/// The outstanding tokens.
///
/// Invariant: what [`Tokens::take`] returned is returned by no other call.
#[derive(Debug)]
pub(crate) struct Tokens<W> {
    waiting: Mutex<HashMap<String, Waiting<W>>>,
    most: usize,
    life: std::time::Duration,
}

#[derive(Debug)]
struct Waiting<W> {
    request: Request<W>,
    until: Instant,
}

impl<W> Tokens<W> {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { waiting: Mutex::default(), most: limits.tokens, life: limits.token_life }
    }

    /// A new token: 122 random bits of the kernel, as 22 characters that a URL may hold.
    pub(crate) fn issue(&self, request: Request<W>) -> Result<String, Full> {
        let token = URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes());
        let now = Instant::now();
        let mut waiting = self.lock();
        if waiting.len() >= self.most {
            waiting.retain(|_, waiting| waiting.until > now);
        }
        if waiting.len() >= self.most {
            return Err(Full);
        }
        waiting.insert(token.clone(), Waiting { request, until: now + self.life });
        Ok(token)
    }

    /// What a token stands for; whoever asks, and for whichever kind: afterwards it stands for nothing.
    pub(crate) fn take(&self, kind: Kind, token: &str) -> Option<Request<W>> {
        let taken = self.lock().remove(token)?;
        (taken.until > Instant::now() && taken.request.kind() == kind).then_some(taken.request)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting<W>>> {
        // Whole after every statement.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::Asked;

    fn attach(what: u32) -> Request<u32> {
        Request::Attach { what, asked: Asked::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_good_once_for_its_kind_and_for_a_minute() {
        let tokens = Tokens::new(&Limits::default());
        let token = tokens.issue(attach(1)).unwrap();
        assert_eq!(tokens.take(Kind::Attach, &token), Some(attach(1)));
        assert_eq!(tokens.take(Kind::Attach, &token), None);

        let other_kind = tokens.issue(attach(2)).unwrap();
        assert_eq!(tokens.take(Kind::Exec, &other_kind), None);
        assert_eq!(tokens.take(Kind::Attach, &other_kind), None, "a wrong guess uses it up");

        let (early, late) = (tokens.issue(attach(3)).unwrap(), tokens.issue(attach(4)).unwrap());
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(tokens.take(Kind::Attach, &early), Some(attach(3)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(tokens.take(Kind::Attach, &late), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_outstanding_and_expired_ones_make_room() {
        let tokens = Tokens::new(&Limits::default());
        let issued: BTreeSet<String> =
            (0..1000).map(|i| tokens.issue(attach(i)).unwrap()).collect();
        assert_eq!(issued.len(), 1000);
        assert!(issued.iter().all(|token| token.len() == 22));
        assert_eq!(tokens.issue(attach(1000)), Err(Full));
        let first = issued.first().unwrap();
        assert!(tokens.take(Kind::Attach, first).is_some());
        tokens.issue(attach(1000)).unwrap();
        assert_eq!(tokens.issue(attach(1001)), Err(Full));
        tokio::time::advance(Duration::from_secs(60)).await;
        tokens.issue(attach(1001)).unwrap();
        assert_eq!(tokens.lock().len(), 1);
    }
}
