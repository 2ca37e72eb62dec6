//! Lengths of time as Go writes them: `1h2m0.5s`, or a number of nanoseconds.

use std::time::Duration;

use toml::Value;

const UNITS: [(&str, f64); 8] = [
    // Those that begin like a longer one come after it.
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// The length of time that `value` is.
///
/// # Errors
/// What it should be.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    let wrong = || format!("{value} is no length of time, write \"10s\" or \"1m30s\"");
    match value {
        Value::Integer(nanoseconds) => {
            u64::try_from(*nanoseconds).map(Duration::from_nanos).map_err(|_| wrong())
        }
        Value::String(text) => parse(text).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(end);
        let (name, seconds) = UNITS.iter().find(|(name, _)| unit.starts_with(name))?;
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = unit.get(name.len()..)?;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_go_reads_them() {
        let read = |text: &str| duration(&Value::String(text.into())).ok();
        for (text, milliseconds) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1h0m0s", 3_600_000),
            ("1.5s", 1_500),
            ("250ms", 250),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(read(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1 s", "1d", "1e3s", "999999999999999999999h"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(duration(&Value::Integer(5)), Ok(Duration::from_nanos(5)));
        assert!(duration(&Value::Integer(-5)).is_err());
    }
}
