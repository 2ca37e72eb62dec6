//! Hashing while bytes go by.

use std::io::Read;

use aws_lc_rs::digest;
use berth_ids::{Algorithm, Digest};

/// A hash under way.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: digest::Context,
}

impl Hasher {
    /// Begins a hash.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::Sha256 => &digest::SHA256,
            Algorithm::Sha512 => &digest::SHA512,
        };
        Self { algorithm, context: digest::Context::new(kind) }
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// Takes in all that a reader has and says how much it was.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn drain(&mut self, reader: &mut impl Read) -> std::io::Result<u64> {
        let mut buffer = vec![0; 256 << 10];
        let mut total = 0;
        loop {
            let count = reader.read(&mut buffer)?;
            if count == 0 {
                return Ok(total);
            }
            self.update(&buffer[..count]);
            total += count as u64;
        }
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest of what was taken in so far; more may follow.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_hash(self.algorithm, self.context.clone().finish().as_ref())
            .expect("a finished hash has its algorithm's length")
    }
}

/// The SHA-256 digest of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hash_like_the_whole() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"he");
        let _ = hasher.digest();
        assert_eq!(hasher.drain(&mut &b"llo"[..]).unwrap(), 3);
        assert_eq!(hasher.digest(), sha256(b"hello"));
        assert_eq!(
            sha256(b"").as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
