//! Numbers in PAX records.

use super::Failure;

/// A decimal number: the whole value is digits.
pub(super) fn number(value: &[u8]) -> Result<u64, Failure> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|t| t.parse().ok()).ok_or(Failure::Malformed("a PAX record is no number"))
}
