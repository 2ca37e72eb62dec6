//! What errors of etcd, of its client library and of connections mean.

use std::error::Error as _;
use std::time::Duration;

use etcd_client::Error as ClientError;
use tonic::{Code, ConnectError, Status};

use crate::Error;

/// The longest reason that is passed on, in characters.
const MAX_REASON: usize = 300;

/// Why a question was not answered as it should.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The member was not reached, does not answer, or has no leader.
    Away {
        /// What was said.
        reason: String,
        /// It cannot have got the question.
        unsent: bool,
    },
    /// Certificates do not fit, ours or the member's.
    Certificate {
        /// Which.
        what: String,
        /// Why not.
        reason: String,
    },
    /// It does not know us, or not any more: with a new token or another password it may.
    Login(String),
    /// We may not.
    Forbidden(String),
    /// Its database is full.
    NoSpace(String),
    /// The revision is not kept any more, or has not come yet. The oldest one that is kept, if it was told.
    Compacted(i64),
    /// There is no such lease.
    LeaseGone,
    /// The answer has more bytes than are taken.
    TooLarge(String),
    /// It has no users, so nobody can log in.
    NoUsers,
    /// What is asked cannot be.
    Invalid(String),
    /// Anything else.
    Odd(String),
}

/// What a question was about, to be named in errors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About {
    /// What was to be done.
    pub step: &'static str,
    /// Under which lease.
    pub lease: i64,
    /// As of which revision.
    pub revision: i64,
    /// The longest that an answer is of use.
    pub most: Option<Duration>,
}

impl Fault {
    /// The member did not answer within its time.
    pub fn silent(unsent: bool) -> Self {
        Fault::Away { reason: "it does not answer".into(), unsent }
    }

    /// Another member, or another connection, may do better.
    pub fn elsewhere(&self) -> bool {
        matches!(self, Fault::Away { .. } | Fault::Certificate { .. })
    }

    /// Nothing can have been done.
    pub fn unsent(&self) -> bool {
        match self {
            Fault::Away { unsent, .. } => *unsent,
            Fault::Certificate { .. } | Fault::Login(_) | Fault::NoUsers => true,
            _ => false,
        }
    }

    /// The crate's error. `endpoint` is the member that was asked last.
    pub fn about(self, about: About, endpoint: &str, endpoints: &str) -> Error {
        let (step, endpoints) = (about.step, endpoints.to_owned());
        match self {
            Fault::Away { reason, unsent } => {
                let reason = format!("{endpoint}: {reason}");
                Error::Away { step, endpoints, reason, asked: !unsent }
            }
            Fault::Certificate { what, reason } => Error::Certificate { what, reason },
            Fault::Login(reason) | Fault::Forbidden(reason) => {
                Error::Forbidden { step, endpoints, reason }
            }
            Fault::NoUsers => {
                Error::Forbidden { step, endpoints, reason: "it has no users".into() }
            }
            Fault::NoSpace(reason) => Error::NoSpace { step, reason },
            Fault::Compacted(oldest) => Error::Compacted { asked: about.revision, oldest },
            Fault::LeaseGone => Error::LeaseGone(about.lease),
            Fault::Invalid(reason) => Error::Invalid(format!("{step}: {reason}")),
            Fault::TooLarge(reason) | Fault::Odd(reason) => Error::Etcd { step, reason },
        }
    }

    /// By what etcd says, whatever the code: streams and proxies change it.
    fn of_words(words: &str) -> Option<Self> {
        let says = |part: &str| words.contains(part);
        let reason = || cut(words);
        Some(if says("database space exceeded") {
            Fault::NoSpace(reason())
        } else if says("requested lease not found") {
            Fault::LeaseGone
        } else if says("has been compacted") || says("is a future revision") {
            Fault::Compacted(0)
        } else if says("invalid auth token")
            || says("user name is empty")
            || says("authentication failed")
        {
            Fault::Login(reason())
        } else if says("authentication is not enabled") {
            Fault::NoUsers
        } else if says("permission denied") || says("permission is not granted") {
            Fault::Forbidden(reason())
        } else if says("message length too large") {
            Fault::TooLarge(reason())
        } else if says("no leader")
            || says("not leader")
            || says("leader changed")
            || says("timed out")
            || says("unhealthy cluster")
            || says("too many requests")
            || says("server stopped")
            // Users or roles were changed while it was asked.
            || says("revision of auth store is old")
        {
            Fault::Away { reason: reason(), unsent: false }
        } else {
            return None;
        })
    }

    fn of_status(status: &Status) -> Self {
        if let Some(fault) = Self::of_words(status.message()) {
            return fault;
        }
        let (reason, unsent) = chain(status);
        if ["invalid peer certificate", "received fatal alert"].iter().any(|it| reason.contains(it))
        {
            return Fault::Certificate { what: "TLS with etcd".into(), reason };
        }
        match status.code() {
            Code::PermissionDenied => Fault::Forbidden(reason),
            Code::Unauthenticated => Fault::Login(reason),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
                Fault::Away { reason, unsent }
            }
            // Made here, of what happened to the connection.
            _ if status.source().is_some() || reason.starts_with("Service was not ready") => {
                Fault::Away { reason, unsent }
            }
            _ => Fault::Odd(reason),
        }
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::of_status(&status)
    }
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::GRpcStatus(status) => Self::of_status(&status),
            ClientError::LeaseKeepAliveError(words) if words == "lease not found" => {
                Fault::LeaseGone
            }
            // The library's words for streams that have ended.
            ClientError::LeaseKeepAliveError(reason)
            | ClientError::WatchError(reason)
            | ClientError::Internal(reason) => Fault::Away { reason: cut(&reason), unsent: false },
            ClientError::IoError(error) => {
                Fault::Away { reason: cut(&error.to_string()), unsent: false }
            }
            // From before anything was sent: of endpoints and certificates.
            ClientError::TransportError(error) => {
                let (reason, _) = chain(&error);
                Fault::Certificate { what: "TLS to etcd".into(), reason }
            }
            error @ (ClientError::InvalidArgs(_) | ClientError::InvalidUri(_)) => {
                Fault::Invalid(cut(&error.to_string()))
            }
            error => Fault::Odd(cut(&error.to_string())),
        }
    }
}

fn cut(words: &str) -> String {
    words.chars().take(MAX_REASON).collect()
}

/// What an error says with all its causes, and whether one of them is that there was no connection.
fn chain(error: &(dyn std::error::Error + 'static)) -> (String, bool) {
    let own = error.downcast_ref::<Status>().map(|status| status.message().to_owned());
    let mut words = own.unwrap_or_else(|| error.to_string());
    let (mut unsent, mut cause) = (false, error.source());
    while let Some(error) = cause {
        unsent |= error.is::<ConnectError>();
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    (cut(&words), unsent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code, words: &str) -> Error {
        let about = About { step: "test", lease: 7, revision: 5, most: None };
        Fault::of_status(&Status::new(code, words)).about(about, "http://a:1", "http://a:1")
    }

    #[test]
    fn what_etcd_says_is_told_apart() {
        let error = of(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        let error = of(Code::NotFound, "etcdserver: requested lease not found");
        assert!(matches!(error, Error::LeaseGone(7)), "{error}");
        let error = of(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
        assert!(matches!(error, Error::Compacted { asked: 5, oldest: 0 }), "{error}");
        let error =
            of(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
        assert!(matches!(error, Error::Compacted { .. }), "{error}");
        for (code, words) in [
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
            ),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
        ] {
            let error = of(code, words);
            assert!(matches!(error, Error::Forbidden { .. }), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        for (code, words) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
            (Code::Cancelled, "Timeout expired"),
            (Code::Unknown, "Service was not ready: transport error"),
        ] {
            let error = of(code, words);
            assert!(matches!(error, Error::Away { .. }), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let error = of(Code::InvalidArgument, "etcdserver: request is too large");
        assert!(matches!(error, Error::Etcd { .. }), "{error}");
    }

    #[test]
    fn answers_that_are_too_large_are_no_compaction() {
        let words = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        let fault = Fault::of_status(&Status::new(Code::OutOfRange, words));
        assert!(matches!(fault, Fault::TooLarge(_)), "{fault:?}");
    }

    #[test]
    fn what_was_not_sent_is_known() {
        let status = Status::from_error(Box::new(ConnectError("refused".into())));
        let fault = Fault::of_status(&status);
        assert!(fault.elsewhere() && fault.unsent(), "{fault:?}");
        let fault = Fault::of_status(&Status::unavailable("gone"));
        assert!(fault.elsewhere() && !fault.unsent(), "{fault:?}");
    }

    #[test]
    fn reasons_are_bounded() {
        let error = of(Code::Unknown, &"ä".repeat(5000)).to_string();
        assert!(error.chars().count() < 400, "{error}");
    }
}
