//! Which member is asked, how long it may take, and who is asked next.
//!
//! A balancing channel would go on to ask a member that is stopped: it cannot tell. So each member has a
//! connection of its own, one of them is used, and when it does not answer another one is.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::Client;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::Settings;
use super::connect::{connect, run_out};
use super::faults::{About, Fault};
use super::patience::Patience;
use crate::{Error, Result};

/// How long it is looked whether a certificate is to blame.
const LOOKS: Duration = Duration::from_secs(1);

/// The configured members.
pub(super) struct Members {
    settings: Settings,
    /// As configured, in one text.
    endpoints: String,
    each: Vec<Member>,
    /// The place of the one that is asked.
    current: AtomicUsize,
    /// The number of the newest connection.
    made: AtomicU64,
    /// With what may not be asked twice, and with what may: a disk that is slow holds up writes alone.
    patience: [Patience; 2],
}

struct Member {
    endpoint: String,
    connection: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    client: Client,
    number: u64,
}

/// What may be done when an answer does not come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Ask again: it makes no difference.
    Yes,
    /// Only what was certainly not sent may be sent again.
    Unsent,
}

/// By which connection a member is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The one for all questions.
    Shared,
    /// One of its own, so that a stream that is read slowly holds up nothing else.
    Own,
}

/// How asking one member ended, if not well.
struct Failed {
    fault: Fault,
    /// The connection was made for this.
    fresh: bool,
    /// Its time was used up.
    late: bool,
}

impl Members {
    pub fn new(settings: &Settings) -> Result<Self> {
        if settings.endpoints.is_empty() {
            return Err(Error::Invalid("there is no endpoint of etcd".into()));
        }
        let tls = settings.ca.is_some() || settings.cert.is_some() || settings.key.is_some();
        for endpoint in &settings.endpoints {
            let plain = endpoint.starts_with("http://");
            if !plain && !endpoint.starts_with("https://") {
                let text = format!("endpoint {endpoint:?} of etcd begins with no http(s)://");
                return Err(Error::Invalid(text));
            }
            if plain && tls {
                let text =
                    format!("endpoint {endpoint:?} of etcd has no TLS to use certificates in");
                return Err(Error::Invalid(text));
            }
        }
        let member = |endpoint: &String| Member {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            connection: Mutex::new(None),
        };
        let each: Vec<_> = settings.endpoints.iter().map(member).collect();
        // Nodes spread over the members.
        let current = AtomicUsize::new(any_of(each.len()));
        let endpoints = settings.endpoints.join(",");
        let settings = settings.clone();
        Ok(Self {
            settings,
            endpoints,
            each,
            current,
            made: AtomicU64::new(0),
            patience: Default::default(),
        })
    }

    /// A key that may be read.
    pub fn probe(&self) -> &str {
        if self.settings.probe.is_empty() { "/" } else { &self.settings.probe }
    }

    /// Asks until there is an answer, as long as there is patience and `about` allows.
    pub async fn call<T, F, Fut>(&self, about: About, again: Again, by: By, ask: F) -> Result<T>
    where
        F: Fn(Client, usize) -> Fut,
        Fut: Future<Output = Result<T, Fault>>,
    {
        let (begun, patience) = (Instant::now(), &self.patience[usize::from(again == Again::Yes)]);
        let end = begun + about.most.map_or(patience.now(), |most| most.min(patience.now()));
        // One connection may be left over from before its member was started again.
        let mut tries = self.each.len() + 1;
        // One silent member is waited for until half of the time is over.
        let mut waits = if self.each.len() > 1 && again == Again::Yes { 2 } else { 1 };
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let now = Instant::now();
            let until = now + end.saturating_duration_since(now) / waits;
            let Failed { fault, fresh, late } = match self.ask(at, by, until, &ask).await {
                Ok((answer, took)) => {
                    patience.was_answered(took);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            tries -= 1;
            let sent = !fault.unsent();
            let goes_on = match &fault {
                Fault::Login(_) | Fault::NoUsers => !fresh,
                fault if fault.elsewhere() => {
                    self.leave(at);
                    (!sent || again == Again::Yes) && (!fresh || self.each.len() > 1)
                }
                _ => false,
            };
            let spent = Instant::now() >= end || (late && waits == 1);
            if !goes_on || tries == 0 || spent {
                if late && spent {
                    patience.was_late(begun.elapsed());
                }
                let mut error = self.error(self.explained(fault).await, about, at);
                if let Error::Away { asked, .. } = &mut error {
                    *asked |= late;
                }
                return Err(error);
            }
            if late {
                waits = 1;
            }
        }
    }

    /// Asks one member; answers how long that took, too.
    async fn ask<T, F, Fut>(
        &self,
        at: usize,
        by: By,
        until: Instant,
        ask: &F,
    ) -> Result<(T, Duration), Failed>
    where
        F: Fn(Client, usize) -> Fut,
        Fut: Future<Output = Result<T, Fault>>,
    {
        // What the client waits with is large, and part of every future above: all of them together are more
        // than a thread's stack has room for where nothing is optimised.
        let connected = timeout_at(until, Box::pin(self.connection(at, by))).await;
        let (connection, fresh) = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(fault)) => return Err(Failed { fault, fresh: true, late: false }),
            Err(_) => return Err(Failed { fault: Fault::silent(true), fresh: true, late: true }),
        };
        let asked = Instant::now();
        let answer = timeout_at(until, Box::pin(ask(connection.client, at))).await;
        let late = answer.is_err();
        let fault = match answer {
            Ok(Ok(answer)) => return Ok((answer, asked.elapsed())),
            Ok(Err(fault)) => fault,
            Err(_) => Fault::silent(false),
        };
        if fault.elsewhere() || matches!(fault, Fault::Login(_) | Fault::NoUsers) {
            self.forget(at, connection.number);
        }
        Err(Failed { fault, fresh, late })
    }

    /// Says so where a certificate may be to blame.
    async fn explained(&self, mut fault: Fault) -> Fault {
        if let Fault::Away { reason, .. } | Fault::Certificate { reason, .. } = &mut fault
            && let Ok(Some(file)) = timeout(LOOKS, run_out(&self.settings)).await
        {
            *reason = format!("certificate {} has run out: {reason}", file.display());
        }
        fault
    }

    /// A connection to a member, and whether it is a new one.
    async fn connection(&self, at: usize, by: By) -> Result<(Connection, bool), Fault> {
        let member = &self.each[at];
        let number = || self.made.fetch_add(1, Ordering::Relaxed) + 1;
        if by == By::Own {
            let client = Box::pin(connect(&self.settings, &member.endpoint)).await?;
            return Ok((Connection { client, number: number() }, true));
        }
        let mut connection = member.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok((connection.clone(), false));
        }
        let client = Box::pin(connect(&self.settings, &member.endpoint)).await?;
        let made = Connection { client, number: number() };
        *connection = Some(made.clone());
        Ok((made, true))
    }

    /// Makes a new connection the next time: certificates and passwords are read again.
    fn forget(&self, at: usize, number: u64) {
        // While somebody makes one there is none to forget, and that may take longer than there is time.
        let Ok(mut connection) = self.each[at].connection.try_lock() else { return };
        if connection.as_ref().is_some_and(|connection| connection.number == number) {
            *connection = None;
        }
    }

    /// Asks another member from now on, if it is still this one that is asked.
    pub fn leave(&self, at: usize) {
        let others = self.each.len() - 1;
        if others > 0 {
            let next = (at + 1 + any_of(others)) % self.each.len();
            // Somebody else may have left it already.
            let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The crate's error for what came of asking this member.
    pub fn error(&self, fault: Fault, about: About, at: usize) -> Error {
        fault.about(about, &self.each[at].endpoint, &self.endpoints)
    }
}

/// A number below `count`, which is not 0.
fn any_of(count: usize) -> usize {
    let random = RandomState::new().hash_one(count).to_le_bytes();
    usize::from(u16::from_le_bytes([random[0], random[1]])) % count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(endpoints: &[&str]) -> Result<Members> {
        let endpoints = endpoints.iter().map(|it| (*it).to_owned()).collect();
        Members::new(&Settings { endpoints, ..Settings::default() })
    }

    #[test]
    fn another_member_is_asked_once_one_is_left() {
        let members = members(&["http://a:1", "http://b:1", "http://c:1"]).unwrap();
        for _ in 0..50 {
            let at = members.current.load(Ordering::Relaxed);
            members.leave(at);
            let next = members.current.load(Ordering::Relaxed);
            assert!(next != at && next < 3);
            members.leave(at);
            assert_eq!(members.current.load(Ordering::Relaxed), next);
        }
    }

    #[test]
    fn endpoints_are_urls() {
        assert!(members(&[]).is_err());
        assert!(members(&["a:1"]).is_err());
        let ca = Some("ca.pem".into());
        let endpoints = vec!["http://a:1".to_owned()];
        assert!(Members::new(&Settings { endpoints, ca, ..Settings::default() }).is_err());
    }
}
