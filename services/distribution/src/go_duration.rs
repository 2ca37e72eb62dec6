//! Lengths of time as Go writes and reads them: containerd's labels and files have them.

/// Nanoseconds of a length of time: `1h30m`, `-1.5s`, `0`.
#[must_use]
pub fn parse(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        total = total.checked_add(nanos(number, unit)?)?;
        rest = behind;
    }
    (total <= i128::from(i64::MAX)).then_some(sign * total)
}

fn nanos(number: &str, unit: &str) -> Option<i128> {
    let unit: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let mut total = match whole {
        "" => 0,
        _ => whole.parse::<u64>().map(i128::from).ok()?.checked_mul(unit)?,
    };
    let mut scale = unit;
    for digit in part.chars() {
        scale /= 10;
        total += i128::from(digit.to_digit(10)?) * scale;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("1ns", 1),
            ("1.5us", 1_500),
            ("-2ms", -2_000_000),
            ("+.5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1m1s", 61_000_000_000),
            ("2µs", 2_000),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
        }
        for text in ["", "-", "1", "s", "1s1", "1..5s", "1 s", "9999999999999h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
