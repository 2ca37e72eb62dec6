//! Numbers of pods and containers, and what one of them is meant by a part of it.

use crate::{Error, Result};

/// A new one: 64 digits, as containerd's. It is not to be guessed.
///
/// # Errors
/// [`Error::File`] when the machine has no random numbers.
pub fn new() -> Result<String> {
    let mut bytes = [0_u8; 32];
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        let read = rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty());
        let read = read.map_err(|errno| Error::file("read", "/dev/urandom")(errno.into()))?;
        rest = &mut rest[read..];
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The one of `ids` that is `part` or alone begins with it.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Ambiguous`]; [`Error::Refused`] for an empty part.
pub fn find<'a>(ids: impl IntoIterator<Item = &'a String>, part: &str) -> Result<&'a String> {
    if part.is_empty() {
        return Err(Error::Refused("prefix can't be empty".to_owned()));
    }
    let (mut found, mut is_one) = (None, true);
    for id in ids {
        if id == part {
            return Ok(id);
        }
        if id.starts_with(part) {
            is_one &= found.is_none();
            found = Some(id);
        }
    }
    match found {
        Some(id) if is_one => Ok(id),
        Some(_) => Err(Error::Ambiguous(part.to_owned())),
        None => Err(Error::NotFound(format!("id {part:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_names_one_id_or_none() {
        let ids = ["abc", "abd", "ab"].map(String::from);
        assert_eq!(find(&ids, "abc").unwrap(), "abc");
        assert_eq!(find(&ids, "ab").unwrap(), "ab");
        assert!(matches!(find(&ids, "a"), Err(Error::Ambiguous(_))));
        assert!(find(&ids, "x").unwrap_err().is_not_found());
        assert!(matches!(find(&ids, ""), Err(Error::Refused(_))));
    }

    #[test]
    fn ids_are_64_digits_and_differ() {
        let (one, other) = (new().unwrap(), new().unwrap());
        assert_ne!(one, other);
        assert!(one.len() == 64 && one.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
    }
}
