//! The OCI digest: an algorithm's name and a hash in lower-case hex.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Error;

/// What is wrong with a digest, in the words of the library that containerd's clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestFault {
    /// It is not `ALGORITHM:HEX`.
    #[error("invalid checksum digest format")]
    Format,
    /// Its hash is not as long as its algorithm makes them.
    #[error("invalid checksum digest length")]
    Length,
    /// Its algorithm is neither sha256 nor sha512.
    #[error("unsupported digest algorithm")]
    Algorithm,
}

/// A hash algorithm that blobs may be named by (OCI image specification, descriptor).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 64 hex digits.
    Sha256,
    /// SHA-512, 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }
}

/// A valid digest, cheap to clone. Its hex part is safe as a file name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    text: Arc<str>,
    algorithm: Algorithm,
}

impl Digest {
    /// Makes a digest of the bytes of a finished hash.
    ///
    /// # Errors
    /// [`Error::Digest`] when the hash is not of the algorithm's length.
    pub fn of_hash(algorithm: Algorithm, hash: &[u8]) -> Result<Self, Error> {
        use fmt::Write;
        let mut text = String::with_capacity(algorithm.name().len() + 1 + hash.len() * 2);
        text.push_str(algorithm.name());
        text.push(':');
        for byte in hash {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.parse()
    }

    /// The whole digest, `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex part.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |fault| Error::Digest { digest: text.to_owned(), fault };
        let (name, rest) = text.split_once(':').ok_or_else(|| wrong(DigestFault::Format))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ if is_general_form(name, rest) => return Err(wrong(DigestFault::Algorithm)),
            _ => return Err(wrong(DigestFault::Format)),
        };
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if rest.is_empty() {
            return Err(wrong(DigestFault::Format));
        }
        if rest.len() != algorithm.hex_len() {
            return Err(wrong(DigestFault::Length));
        }
        if !rest.bytes().all(lower_hex) {
            return Err(wrong(DigestFault::Format));
        }
        Ok(Self { text: text.into(), algorithm })
    }
}

/// Whether this could be a digest of an algorithm that is not known here (OCI image specification).
fn is_general_form(name: &str, rest: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let encoded = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-');
    name.split(['.', '+', '_', '-']).all(word) && !rest.is_empty() && rest.bytes().all(encoded)
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.as_str().to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_both_algorithms_apart() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        assert_eq!((digest.algorithm(), digest.hex().len()), (Algorithm::Sha256, 64));
        let made = Digest::of_hash(Algorithm::Sha512, &[7; 64]).unwrap();
        assert_eq!(made.hex(), "07".repeat(64));
    }

    #[test]
    fn says_what_is_wrong_with_a_digest() {
        let hex = "ab".repeat(32);
        for (text, fault) in [
            ("", DigestFault::Format),
            ("sha256", DigestFault::Format),
            ("sha256:", DigestFault::Format),
            (":00", DigestFault::Format),
            ("sha256:../../etc", DigestFault::Length),
            (&format!("sha512:{hex}"), DigestFault::Length),
            (&format!("sha256:{}", hex.to_uppercase()), DigestFault::Format),
            ("md5:00", DigestFault::Algorithm),
            ("sha3+x_y:Zz-_=", DigestFault::Algorithm),
            ("MD5:00", DigestFault::Format),
            ("md5:../..", DigestFault::Format),
        ] {
            let refused = text.parse::<Digest>().unwrap_err();
            assert_eq!(refused, Error::Digest { digest: text.to_owned(), fault }, "{text}");
        }
    }
}
