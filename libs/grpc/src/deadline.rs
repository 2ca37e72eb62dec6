//! The caller's deadline: the `grpc-timeout` header.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::Error;

const HEADER: HeaderName = HeaderName::from_static("grpc-timeout");
const MAX_DIGITS: usize = 8;

/// When the caller stops waiting, if it says so.
///
/// # Errors
/// [`Error::Timeout`] when it says so in another form.
pub fn of(headers: &HeaderMap) -> Result<Option<Instant>, Error> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let timeout = parse(value.as_bytes())
        .ok_or_else(|| Error::Timeout(String::from_utf8_lossy(value.as_bytes()).into()))?;
    // 99,999,999 hours may be past the end of the clock: then there is no deadline.
    Ok(Instant::now().checked_add(timeout))
}

/// Tells the next hop what is left, after part of the time was spent waiting.
pub fn shorten(headers: &mut HeaderMap, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let micros = left.as_micros();
    let text = match micros {
        0..=99_999_999 => format!("{micros}u"),
        _ => format!("{}m", (micros / 1000).min(99_999_999)),
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(HEADER, value);
    }
}

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, nanos) in [
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("4m", 4_000_000),
            ("5u", 5_000),
            ("99999999n", 99_999_999),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_timeout_is_refused() {
        for text in ["", "S", "1", "1s", "-1S", "1.5S", "100000000n", "1 S"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_left_is_told_in_a_form_that_is_read() {
        for text in ["5S", "99999999H", "250m"] {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_static(text));
            let deadline = of(&headers).unwrap().unwrap();
            let most = deadline.saturating_duration_since(Instant::now());
            shorten(&mut headers, deadline);
            let told = parse(headers[HEADER].as_bytes()).unwrap();
            assert!(told <= most + Duration::from_secs(1), "{text}");
        }
    }
}
