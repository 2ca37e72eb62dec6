//! What is offered and until when.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::time::Instant;

use crate::Error;

/// How long an offered descriptor waits to be claimed.
pub const OFFER_LIFETIME: Duration = Duration::from_secs(30);
/// The most descriptors that wait at once.
pub const MAX_OFFERS: usize = 1024;
/// Bytes of a token as it is sent.
pub(crate) const TOKEN_LENGTH: usize = 32;

/// Stands for an offered descriptor. Whoever has it can claim: it is not logged.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

impl Token {
    pub(crate) fn random() -> std::io::Result<Self> {
        let mut bytes = [0; TOKEN_LENGTH / 2];
        // At most 256 bytes are never delivered in part.
        getrandom(&mut bytes, GetRandomFlags::empty())?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The token for a message.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == TOKEN_LENGTH && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::Malformed)
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Descriptors that wait, by token.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    waiting: HashMap<Token, (OwnedFd, Instant)>,
}

impl Offers {
    pub(crate) fn add(&mut self, token: Token, fd: OwnedFd, now: Instant) -> Result<(), Error> {
        self.expire(now);
        if self.waiting.len() >= MAX_OFFERS {
            return Err(Error::Full);
        }
        self.waiting.insert(token, (fd, now + OFFER_LIFETIME));
        Ok(())
    }

    pub(crate) fn take(&mut self, token: &Token, now: Instant) -> Option<OwnedFd> {
        self.expire(now);
        self.waiting.remove(token).map(|(fd, _)| fd)
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.waiting.retain(|_, (_, until)| *until > now);
    }

    /// When the next one expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.waiting.values().map(|(_, until)| *until).min()
    }
}
