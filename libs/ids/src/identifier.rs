//! containerd's `identifiers` package: the form of container, lease and namespace names.

use crate::Error;

/// The longest identifier, in bytes.
pub const MAX_IDENTIFIER: usize = 76;

/// Checks that `id` is runs of ASCII letters and digits joined by single `.`, `_` or `-`.
///
/// # Errors
/// [`Error::EmptyIdentifier`], [`Error::LongIdentifier`] or [`Error::MalformedIdentifier`].
pub fn validate_identifier(id: &str) -> Result<(), Error> {
    if id.is_empty() {
        return Err(Error::EmptyIdentifier);
    }
    if id.len() > MAX_IDENTIFIER {
        return Err(Error::LongIdentifier(id.to_owned()));
    }
    let run = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    if id.split(['.', '_', '-']).all(run) {
        Ok(())
    } else {
        Err(Error::MalformedIdentifier(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_containerd_accepts() {
        for id in ["default", "k8s.io", "a-b_c.d", "0", &"x".repeat(76)] {
            assert_eq!(validate_identifier(id), Ok(()), "{id}");
        }
    }

    #[test]
    fn refuses_what_containerd_refuses() {
        assert_eq!(validate_identifier(""), Err(Error::EmptyIdentifier));
        for id in [".a", "a.", "a..b", "a-_b", "a/b", "ä", "a b", "../x"] {
            let refused = Err(Error::MalformedIdentifier(id.to_owned()));
            assert_eq!(validate_identifier(id), refused, "{id}");
        }
        let long = "x".repeat(77);
        assert_eq!(validate_identifier(&long), Err(Error::LongIdentifier(long.clone())));
    }
}
