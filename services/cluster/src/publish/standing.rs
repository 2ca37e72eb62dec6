//! How publishing stands, for whoever asks this node.

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::objects::Published;

/// What became of the registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Etcd does not answer, or has not yet.
    Connecting,
    /// The node is in the cluster.
    Registered,
    /// Another node has the name.
    Refused {
        /// Its address.
        by: String,
    },
}

/// How publishing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What became of the registration.
    pub registration: Registration,
    /// What is in the way now, in words.
    pub trouble: Option<String>,
    /// Since when `registration` is so.
    pub since: OffsetDateTime,
    /// Changes that etcd has not got yet; a listing counts as one.
    pub waiting: u64,
    /// What etcd has got.
    pub published: Published,
}

/// A new one, of which nothing is known.
pub(super) fn channel() -> watch::Sender<Standing> {
    let registration = Registration::Connecting;
    let (since, published) = (OffsetDateTime::now_utc(), Published::default());
    watch::Sender::new(Standing { registration, trouble: None, since, waiting: 0, published })
}

/// Tells it if it is another.
pub(super) fn change(standing: &watch::Sender<Standing>, change: impl FnOnce(&mut Standing)) {
    standing.send_if_modified(|now| {
        let before = now.clone();
        change(now);
        if now.registration != before.registration {
            now.since = OffsetDateTime::now_utc();
        }
        *now != before
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_told() {
        let sender = channel();
        let mut receiver = sender.subscribe();
        change(&sender, |standing| standing.waiting = 0);
        assert!(!receiver.has_changed().unwrap());
        let since = sender.borrow().since;
        change(&sender, |standing| standing.waiting = 3);
        assert_eq!(receiver.borrow_and_update().since, since);
        change(&sender, |standing| standing.registration = Registration::Registered);
        assert!(receiver.borrow_and_update().since > since);
    }
}
