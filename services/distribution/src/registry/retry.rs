//! When a failed request is sent again, and after how long.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// How often and how slowly a request is repeated. Everything is bounded.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Requests in all when the registry answers "later" (429 and 5xx).
    pub busy_tries: u32,
    /// Requests in all when no connection comes about or it breaks.
    pub connection_tries: u32,
    /// Tries in a row to go on with a blob that bring no byte.
    pub resume_tries: u32,
    /// The first wait; each further one is twice as long.
    pub first_wait: Duration,
    /// No wait is longer, whatever Retry-After says.
    pub longest_wait: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            busy_tries: 6,
            connection_tries: 3,
            resume_tries: 5,
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(30),
        }
    }
}

impl Policy {
    /// The wait before try `number` (the first repetition is 1).
    pub(super) fn wait(&self, number: u32) -> Duration {
        let doubled = self.first_wait.saturating_mul(1 << number.saturating_sub(1).min(16));
        doubled.min(self.longest_wait)
    }

    /// The wait that the registry asks for, or else [`Policy::wait`].
    pub(super) fn wait_asked(&self, headers: &HeaderMap, number: u32) -> Duration {
        let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        asked.and_then(retry_after).unwrap_or(self.wait(number)).min(self.longest_wait)
    }
}

/// Whether the same request may succeed later.
pub(super) fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Retry-After is a number of seconds or an HTTP date.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = OffsetDateTime::parse(value.trim(), &Rfc2822).ok()?;
    Some(SystemTime::from(at).duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound() {
        let policy = Policy { longest_wait: Duration::from_secs(1), ..Policy::default() };
        assert_eq!(policy.wait(1), Duration::from_millis(200));
        assert_eq!(policy.wait(3), Duration::from_millis(800));
        assert_eq!(policy.wait(60), Duration::from_secs(1));
    }

    #[test]
    fn the_registrys_wish_is_heard_within_the_bound() {
        let policy = Policy { longest_wait: Duration::from_secs(7), ..Policy::default() };
        let asked = |value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            policy.wait_asked(&headers, 1)
        };
        assert_eq!(asked("3"), Duration::from_secs(3));
        assert_eq!(asked("3600"), Duration::from_secs(7));
        assert_eq!(asked("Fri, 31 Dec 1999 23:59:59 GMT"), Duration::ZERO);
        assert_eq!(asked("soon"), Duration::from_millis(200));
    }
}
